//! Chat templates of well-known forms, by name, for models that come without one.
//!
//! Each writes a conversation in the form that its model family publishes; `bos_token` is the model's own.

/// Every template's name and source.
const TEMPLATES: [(&str, &str); 9] = [
    (
        "chatml",
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\
         {% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}",
    ),
    (
        "llama2",
        "{% set ns = namespace(system='') %}{% for m in messages %}\
         {% if m.role == 'system' %}{% set ns.system = '<<SYS>>\n' ~ m.content ~ '\n<</SYS>>\n\n' %}\
         {% elif m.role == 'user' %}{{ bos_token }}[INST] {{ ns.system }}{{ m.content }} [/INST]{% set ns.system = '' %}\
         {% elif m.role == 'assistant' %} {{ m.content }} {{ eos_token }}{% endif %}{% endfor %}",
    ),
    (
        "llama3",
        "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n\
         {{ m.content | trim }}<|eot_id|>{% endfor %}\
         {% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}",
    ),
    (
        "mistral",
        "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}[INST] {{ m.content }} [/INST]\
         {% elif m.role == 'assistant' %} {{ m.content }}{{ eos_token }}{% endif %}{% endfor %}",
    ),
    (
        "gemma",
        "{{ bos_token }}{% for m in messages if m.role in ['user', 'assistant'] %}\
         <start_of_turn>{{ 'model' if m.role == 'assistant' else 'user' }}\n{{ m.content | trim }}<end_of_turn>\n{% endfor %}\
         {% if add_generation_prompt %}<start_of_turn>model\n{% endif %}",
    ),
    (
        "phi3",
        "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}<|end|>\n{% endfor %}\
         {% if add_generation_prompt %}<|assistant|>\n{% endif %}",
    ),
    (
        "zephyr",
        "{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{{ eos_token }}\n{% endfor %}\
         {% if add_generation_prompt %}<|assistant|>\n{% endif %}",
    ),
    (
        "vicuna",
        "{% for m in messages %}{% if m.role == 'system' %}{{ m.content }}\n\n\
         {% elif m.role == 'user' %}USER: {{ m.content }}\n\
         {% elif m.role == 'assistant' %}ASSISTANT: {{ m.content }}{{ eos_token }}\n{% endif %}{% endfor %}\
         {% if add_generation_prompt %}ASSISTANT:{% endif %}",
    ),
    (
        "alpaca",
        "{% for m in messages %}{% if m.role == 'system' %}{{ m.content }}\n\n\
         {% elif m.role == 'user' %}### Instruction:\n{{ m.content }}\n\n\
         {% elif m.role == 'assistant' %}### Response:\n{{ m.content }}{{ eos_token }}\n\n{% endif %}{% endfor %}\
         {% if add_generation_prompt %}### Response:\n{% endif %}",
    ),
];

/// The source of the template with this name.
pub(crate) fn find(name: &str) -> Option<&'static str> {
    let mut all = TEMPLATES.iter();
    all.find(|(known, _)| *known == name)
        .map(|(_, source)| *source)
}

/// All names.
pub(crate) fn names() -> Vec<&'static str> {
    TEMPLATES.iter().map(|(name, _)| *name).collect()
}

#[cfg(test)]
mod tests {
    use super::super::*;
    use super::*;

    #[test]
    fn every_template_shows_a_whole_conversation() {
        for name in names() {
            let stored = TemplateSource::new(find(name).unwrap());
            let tokens =
                BTreeMap::from([("bos_token", "<s>".into()), ("eos_token", "</s>".into())]);
            let template = ChatTemplate::new(&stored, &tokens);
            let messages = [
                Message::new("system", "Rules."),
                Message::new("user", "First"),
                Message::new("assistant", "Second"),
                Message::new("user", "Third"),
            ];
            let text = template
                .render(&messages, &RenderOptions::default())
                .unwrap();
            let words = ["Rules.", "First", "Second", "Third"];
            let positions: Vec<_> = words.iter().map(|word| text.find(word).unwrap()).collect();
            assert!(positions.is_sorted(), "{name}: {text}");
        }
    }

    #[test]
    fn forms_are_those_of_their_families() {
        let render = |name| {
            let tokens =
                BTreeMap::from([("bos_token", "<s>".into()), ("eos_token", "</s>".into())]);
            let template = ChatTemplate::new(&TemplateSource::new(find(name).unwrap()), &tokens);
            let messages = [Message::new("system", "S"), Message::new("user", "U")];
            template
                .render(&messages, &RenderOptions::default())
                .unwrap()
        };
        assert_eq!(
            render("llama2"),
            "<s>[INST] <<SYS>>\nS\n<</SYS>>\n\nU [/INST]"
        );
        assert_eq!(render("mistral"), "<s>[INST] S\n\nU [/INST]");
        assert_eq!(
            render("gemma"),
            "<s><start_of_turn>user\nS\n\nU<end_of_turn>\n<start_of_turn>model\n"
        );
        assert_eq!(
            render("chatml"),
            "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n"
        );
    }
}
