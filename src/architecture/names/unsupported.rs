//! Forms of weights that are not read, by what their tensors are called.

/// The first form that a tensor's name tells of, and that name. Of a model with experts, or with weights in packings that are
/// read, those are none.
pub(super) fn form<'a>(
    names: &[&'a str],
    has_experts: bool,
    is_packed: bool,
) -> Option<(&'a str, &'static str)> {
    let mixtures = (!has_experts).then_some(&MIXTURES).into_iter();
    let packings = (!is_packed).then_some(&PACKINGS).into_iter();
    let mut forms = mixtures.chain(packings).chain(&UNSUPPORTED_FORMS);
    forms.find_map(|(marks, form)| {
        let marked = |name: &&str| marks.iter().any(|mark| name.contains(mark));
        Some((names.iter().copied().find(marked)?, *form))
    })
}

/// Parts of tensors' names, and the form of weights that they tell of.
type Form = (&'static [&'static str], &'static str);

/// A form that only some families have.
const MIXTURES: Form = (
    &[".experts.", "_exps.", ".block_sparse_moe."],
    "mixtures of experts",
);

/// Packings of weights, where none that is read was found.
const PACKINGS: Form = (
    &[
        ".qweight",
        ".qzeros",
        ".weight_packed",
        ".weight_scale",
        ".absmax",
        ".SCB",
        "_blocks",
    ],
    "weights packed by bitsandbytes or compressed-tensors, or by GPTQ or AWQ without a word in config.json,",
);

/// Forms that no model here reads.
const UNSUPPORTED_FORMS: [Form; 2] = [
    (
        &[".lora_A.", ".lora_B.", ".lora_a", ".lora_b"],
        "LoRA adapters without an adapter_config.json",
    ),
    (&[".time_mix_"], "recurrent layers of this kind"),
];
