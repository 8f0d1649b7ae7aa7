//! Forms of weights that are not read, by what their tensors are called.

/// Parts of tensors' names, and the form of weights that they tell of.
pub(super) type Form = (&'static [&'static str], &'static str);

/// A form that only some families have.
pub(super) const MIXTURES: Form = (
    &[".experts.", "_exps.", ".block_sparse_moe."],
    "mixtures of experts",
);

/// Packings of weights, where none that is read was found.
pub(super) const PACKINGS: Form = (
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
pub(super) const UNSUPPORTED_FORMS: [Form; 2] = [
    (
        &[".lora_A.", ".lora_B.", ".lora_a", ".lora_b"],
        "adapters without their base model's weights",
    ),
    (&[".time_mix_"], "recurrent layers of this kind"),
];
