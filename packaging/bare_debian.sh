#!/bin/sh
# Tries a wheel, and with --program the sources, on Debian systems that have nothing else, and says how long each part took.
#
#     packaging/bare_debian.sh WHEEL [--program] [RELEASE...]
#
# The releases are bookworm and trixie by default. Needs root, debootstrap and Python 3. DEBIAN_MIRROR names another mirror;
# variables of pip, cargo and rustup are handed on, and so is the file that PIP_CERT names. The wheel's part has no Rust: it
# installs the wheel, lets it answer (check_wheel.py), and then the default model, which is downloaded. The program's part
# installs a C compiler and Rust with rustup, and runs `cargo install`.
set -eu
cd "$(dirname "$0")/.."

wheel=$1
shift
program=
if [ "${1:-}" = --program ]; then
    program=yes
    shift
fi
[ $# -gt 0 ] || set -- bookworm trixie
mirror=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
folder=$(mktemp -d)
root=
leave() {
    # Nothing is removed through a mount: the machine's own /dev may be bound there.
    for mounted in ${root:+"$root/proc" "$root/dev"}; do
        ! mountpoint -q "$mounted" || umount "$mounted" || echo "still mounted, and left: $mounted" >&2
    done
    rm -rf --one-file-system "$folder"
}
trap leave EXIT INT TERM

timed() {
    name=$1 started=$(date +%s)
    shift
    "$@"
    printf '== %s: %s took %s s\n' "$release" "$name" "$(($(date +%s) - started))"
}

inside() {
    chroot "$root" env -i HOME=/root PATH=/root/.cargo/bin:/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8 DEBIAN_FRONTEND=noninteractive \
        $(env | grep -E '^(PIP|CARGO|RUSTUP)_[A-Z_]*=[^ ]*$' | grep -v -E '_(HOME|CERT|FIND_LINKS)=') $certificates sh -euc "$1"
}

new_system() {
    debootstrap --variant=minbase "$release" "$root" "$mirror" >"$folder/log" || {
        tail "$folder/log"
        return 1
    }
}

copy_sources() {
    mkdir "$root/specdec"
    git ls-files -z | xargs -0 cp --parents --target-directory "$root/specdec"
    cp "$wheel" "$root/specdec/"
    # The machine's certificates, among them its mirrors'.
    if [ -n "${PIP_CERT:-}" ]; then
        cp "$PIP_CERT" "$root/root/certificates.pem"
        for variable in PIP_CERT SSL_CERT_FILE CURL_CA_BUNDLE CARGO_HTTP_CAINFO; do
            certificates="$certificates $variable=/root/certificates.pem"
        done
    fi
    cp /etc/resolv.conf /etc/hosts "$root/etc/"
}

for release; do
    root=$folder/$release
    certificates=
    timed "the system" new_system
    mount --bind /proc "$root/proc"
    mount --bind /dev "$root/dev"
    copy_sources
    timed "apt-get install python3-venv" inside 'apt-get -qq update; apt-get -qq install --no-install-recommends python3-venv >/dev/null 2>&1'
    timed "the wheel, and tiny models" inside 'cd /specdec; python3 packaging/check_wheel.py *.whl --environment /environment'
    timed "the default model's first answer" inside 'PATH=/environment/bin:$PATH specdec generate --temperature 0 "List the months of the year."' |
        tee "$folder/answer"
    grep -q "January, February, March" "$folder/answer"
    if [ "$program" ]; then
        timed "apt-get install build-essential curl ca-certificates" inside \
            'apt-get -qq install --no-install-recommends build-essential curl ca-certificates >/dev/null 2>&1'
        timed "rustup" inside 'curl -sSf https://sh.rustup.rs | sh -s -- -qy --profile minimal'
        timed "cargo install --path programs" inside 'cd /specdec; cargo install --quiet --locked --path programs'
        inside 'specdec generate --raw You --target /specdec/tests/data/pair/target -n 8'
    fi
    umount "$root/proc" "$root/dev"
    root=
done
