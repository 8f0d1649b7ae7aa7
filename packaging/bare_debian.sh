#!/bin/sh
# Follows README.md on bare Debian systems, and says what it forgot to ask for and how long each part took:
#
#     packaging/bare_debian.sh WHEEL [SUITE...]
#
# By default the suites are bookworm and trixie. Needs root, debootstrap, git, and a commit that has what is to be tested.
# Variables:
#
#     PARTS         what is done, by default all: "wheel python minutes program". The wheel answers (check_wheel.py), README's
#                   Python code runs, the first ten minutes, and the program is compiled, which alone needs Rust.
#     ARCHITECTURE  Debian's name of another processor, which the system must know how to emulate (qemu-user-binfmt)
#     MIRROR        where Debian's packages come from; by default where apt gets them
#     CERTIFICATES  a file of certificates that the systems trust in place of their own, for a proxy
#     FOLDER        where the systems are made, and removed; about 3 GB, or 8 GB with the program
#
# pip's, rustup's and the proxy's own variables, such as PIP_INDEX_URL, are handed on.
set -eu

[ $# -gt 0 ] || { sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit 2; }
wheel=$(realpath "$1")
shift
[ $# -gt 0 ] || set -- bookworm trixie
root=$(realpath "$(dirname "$0")/..")
parts=" ${PARTS:-wheel python minutes program} "
mirror=${MIRROR:-$(apt-get indextargets --format "\$(REPO_URI)" 'Origin: Debian' | head -n 1)}
folder=$(realpath -m "${FOLDER:-$root/target/bare}")
handed='PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_DEFAULT_TIMEOUT RUSTUP_DIST_SERVER RUSTUP_UPDATE_ROOT HF_ENDPOINT
    http_proxy https_proxy no_proxy'

# Runs commands of a shell in the system.
inside() {
    # The environment with the wheel is activated, once it is there.
    chroot "$system" env -i PATH=/root/ours/bin:/root/.cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        HOME=/root LANG=C.UTF-8 TERM=xterm DEBIAN_FRONTEND=noninteractive sh -euc "set -a; . /root/variables; set +a; cd; $1"
}

# need WHAT CHECK PACKAGES: where the check fails, the system lacks what README.md asks for.
need() {
    inside "$2" >/dev/null 2>&1 && return
    printf '%s lacks %s: apt-get install %s\n' "$suite" "$1" "$3" | tee -a "$folder/missing"
    inside "apt-get install -qq -y --no-install-recommends $3 >/dev/null 2>&1"
    trust
    inside "$2" >/dev/null || { echo "and $3 does not bring it"; exit 1; }
}

# Installing packages writes the file of certificates anew.
trust() {
    [ -n "${CERTIFICATES:-}" ] || return 0
    mkdir -p "$system/etc/ssl/certs"
    cp "$CERTIFICATES" "$system/etc/ssl/certs/ca-certificates.crt"
}

# Ends a part, and begins the next.
part() {
    now=$(date +%s)
    [ -z "$doing" ] || printf '%-10s %5d s  %s\n' "$suite" "$((now - began))" "$doing" >> "$folder/times"
    doing=$1 began=$now
    [ -z "$doing" ] || printf '\n== %s: %s\n' "$suite" "$doing"
}

does() { case $parts in *" $1 "*) ;; *) return 1 ;; esac; }

# Nothing of this machine is mounted in the system, and nothing is removed through a mount.
leave() {
    for mounted in dev/shm dev/pts proc; do
        ! mountpoint -q "$system/$mounted" || umount "$system/$mounted" || true
    done
    if cut -d' ' -f2 /proc/self/mounts | grep -F "$system/"; then
        echo "still mounted, and left" >&2
        exit 1
    fi
    rm -rf --one-file-system "$system"
}

mkdir -p "$folder"
rm -f "$folder/times"
: > "$folder/missing"
for suite; do
    system=$folder/$suite doing=
    leave
    trap leave EXIT
    trap 'exit 1' INT TERM
    part "a bare system from $mirror"
    debootstrap --variant=minbase ${ARCHITECTURE:+"--arch=$ARCHITECTURE"} "$suite" "$system" "$mirror" > "$folder/$suite.log" || {
        tail "$folder/$suite.log"
        exit 1
    }
    # What an installed system has.
    cp /etc/resolv.conf "$system/etc/resolv.conf"
    echo "127.0.0.1 localhost" > "$system/etc/hosts"
    mount -t proc proc "$system/proc"
    mount -t devpts devpts "$system/dev/pts"
    mount -t tmpfs tmpfs "$system/dev/shm"
    for name in $handed; do
        eval "value=\${$name:-}"
        [ -z "$value" ] || printf "%s='%s'\n" "$name" "$value"
    done > "$system/root/variables"
    trust
    git clone --quiet "$root" "$system/root/specdec_rs"
    cp "$wheel" "$system/root"

    if does wheel || does python || does minutes; then
        part "what Python needs"
        need "Python 3.10" "python3 -c 'import sys; assert sys.version_info >= (3, 10)'" python3
        need "Python's venv" "python3 -c 'import ensurepip'" python3-venv
        part "the wheel, and tiny models"
        inside "python3 specdec_rs/packaging/check_wheel.py /root/${wheel##*/} --environment ours"
    fi

    if does python; then
        part "README's Python code, with the model's download"
        inside "sed -n '/^\`\`\`python\$/,/^\`\`\`\$/{/^\`\`\`/d;p}' specdec_rs/README.md > code.py; python code.py > printed; cat printed
            grep -qF \"prints \\\`\$(cat printed)\\\`\" specdec_rs/README.md"
    fi

    if does minutes; then
        part "what only the test of the first ten minutes needs"
        inside "apt-get install -qq -y --no-install-recommends git chromium chromium-driver >/dev/null 2>&1"
        trust
        inside "python3 -m venv tests; tests/bin/pip install --quiet pytest pyte selenium"
        part "the first ten minutes"
        inside "tests/bin/python specdec_rs/tests/python/first_ten_minutes.py --installed ours/bin"
    fi

    if does program; then
        rm -rf "$system/root/ours"
        part "cargo install"
        need "a C compiler" "echo 'int main(void) { return 0; }' | cc -x c - -o /tmp/a" "gcc libc6-dev"
        oldest=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$root/Cargo.toml")
        newer="printf '%s\n' $oldest \$(cargo --version | cut -d' ' -f2) | sort -CV"
        if ! inside "$newer" >/dev/null 2>&1; then
            echo "$suite lacks Rust $oldest: installed by rustup" | tee -a "$folder/missing"
            need "curl, for rustup" "curl --version" "curl ca-certificates"
            inside "curl --proto '=https' -sSf https://sh.rustup.rs | sh -s -- -y --quiet --profile minimal"
            inside "$newer"
        fi
        inside "cd specdec_rs; cargo install --quiet --locked --path programs"
        part "the program's answer"
        inside "specdec generate 'List the months of the year.' --temperature 0" > "$folder/printed"
        cat "$folder/printed"
        tr -s ' \n' ' ' < "$root/README.md" | grep -qF "$(tr -s ' \n' ' ' < "$folder/printed" | sed 's/^ //; s/ $//')"
    fi
    part ""
    leave
    trap - EXIT INT TERM
done

printf '\n== what was missing\n'
cat "$folder/missing"
printf '\n== how long each part took\n'
cat "$folder/times"
