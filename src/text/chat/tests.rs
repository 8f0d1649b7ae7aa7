//! Templates render as in transformers.

use serde_json::json;

use super::*;

fn render(source: &str, messages: &[Message]) -> Result<String> {
    let special_tokens =
        BTreeMap::from([("bos_token", "<s>".into()), ("eos_token", "</s>".into())]);
    ChatTemplate::new(&TemplateSource::new(source), &special_tokens)
        .render(messages, &RenderOptions::default())
}

fn conversation() -> Vec<Message> {
    vec![
        Message::new("system", " Be brief. "),
        Message::new("user", "Is 1 < 2 & \"3\"?"),
    ]
}

#[test]
fn the_usual_shapes_render() {
    let chatml = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
    let expected = "<|im_start|>system\n Be brief. <|im_end|>\n<|im_start|>user\nIs 1 < 2 & \"3\"?<|im_end|>\n<|im_start|>assistant\n";
    assert_eq!(render(chatml, &conversation()).unwrap(), expected);
    let methods = "{{ bos_token }}{%- set ns = namespace(n=0) -%}\n{%- for m in messages[1:] if m.role.startswith('u') %}\n    {%- set ns.n = ns.n + 1 %}\n{{ m.content.upper().strip().split(' ')[0] }}{{ ns.n }}{{ eos_token }}\n{% endfor %}";
    assert_eq!(render(methods, &conversation()).unwrap(), "<s>IS1</s>\n");
}

#[test]
fn json_is_formatted_as_in_python() {
    let source = "{{ messages[1] | tojson }} {{ [] | tojson }} {{ {'a': [1, 2.5, none, true]} | tojson(indent=2) }}";
    let expected = "{\"role\": \"user\", \"content\": \"Is 1 < 2 & \\\"3\\\"?\"} [] {\n  \"a\": [\n    1,\n    2.5,\n    null,\n    true\n  ]\n}";
    assert_eq!(render(source, &conversation()).unwrap(), expected);
}

#[test]
fn generation_blocks_have_no_effect() {
    let marked = "{% for m in messages %}\n  {%- generation -%}\n  {{ m.role }}\n  {% endgeneration %}\n{% endfor %}{{ '{% generation' }}";
    let plain = marked
        .replace("{%- generation -%}", "{%- if true -%}")
        .replace("{% endgeneration %}", "{% endif %}");
    let rendered = render(marked, &conversation()).unwrap();
    assert_eq!(rendered, render(&plain, &conversation()).unwrap());
    assert!(rendered.starts_with("system"), "{rendered}");
}

#[test]
fn a_template_that_refuses_says_why() {
    let source = "{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}";
    let message = render(source, &conversation()).unwrap_err().to_string();
    assert!(message.contains("System role not supported"), "{message}");
}

#[test]
fn a_message_without_content_is_named() {
    let source = "{% for m in messages %}{{ m.role + ': ' + m.content }}{% endfor %}";
    for missing in [
        json!({"role": "user"}),
        json!({"role": "user", "content": null}),
    ] {
        let messages = [
            Message::new("system", "a"),
            Message::from_json(missing).unwrap(),
        ];
        let message = render(source, &messages).unwrap_err().to_string();
        assert!(
            message.starts_with("invalid messages[1].content = null"),
            "{message}"
        );
    }
}

#[test]
fn hostile_templates_end_with_an_error() {
    for source in [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{{ messages.nothing.at_all }}",
        "{% if %}",
        "{{ 'x' * 10 ** 12 }}",
        "{{ strftime_now('%') }}",
        "{{ messages | tojson(indent=-1) }}",
        "{{ '{0:>9999999999999999999}'.format(1) }}",
        "{{ '{0:>99999999999}'.format(1) }}",
        "{{ '{:70000}'.format(1) }}",
        "{{ '%99999999999d' % 1 }}",
        "{{ strftime_now('%c' * 40000000) }}",
        "{{ [1] * 99999999 }}",
        "{{ [1] * 99999999 ~ '' }}",
        "{{ 10 ** 9 * ([1] + [2]) == [1] }}",
        "{{ [1] * 99 * 99 * 99 * 99 * 99 in [2] }}",
        "{{ ([1] * 99999999) | tojson }}",
        "{{ 'x' | truncate(length=18446744073709551615, leeway=5) ~ [[]] * 10 ** 9 }}",
        "{{ ('x' * 99999999).replace('x', 'xxxxxxxxxxxxxxxx') }}",
        "{{ ('x,' * 99999999).split(',') }}",
        "{{ ('x' * 9999999).strip('y' * 9999999) }}",
        "{{ ('x' * 9999999) | trim('y' * 9999999 ~ 'x') }}",
        "{{ ('{0}' * 9999).format('x' * 9999999) }}",
        "{{ ('%(x)s' * 9999) | format(x='x' * 9999999) }}",
        "{{ messages | tojson(indent='x' * 99999999) }}",
        "{{ debug() }}",
        "{{ '%.999999999f' % 1 }}",
        "{{ '%*d' % (999999999, 1) }}",
        "{{ [1] | batch(10 ** 12, 0) | list }}",
        "{{ [1] | slice(10 ** 12) | list }}",
        "{{ 'x' | indent(10 ** 12, true) }}",
        "{{ 'x' | replace('', 'y' * 299999999) }}",
        "{{ range(10 ** 12) | list }}",
        "{% set a, b = ['x'] * messages | length * 10 ** 9 %}",
        "{% include ['x'] * messages | length * 10 ** 9 %}",
        "{% extends ['x'] * messages | length * 10 ** 9 %}",
        "{{ range(*(['x'] * messages | length * 10 ** 9)) }}",
        "{{ (range(99999) | list) * 999 | sort }}",
    ] {
        assert!(render(source, &conversation()).is_err(), "{source}");
    }
}

/// Nine lists, each of ten times the one before: a text of a thousand million entries.
const NESTED: &str = "{% set a = ['x'] %}{% set a = [a]*10 %}{% set a = [a,a,a,a,a,a,a,a,a,a] %}{% set a = [a]*10 %}{% set a = {'a': [a]*10} %}{% set a = [a]*10 %}{% set a = [a]*10 %}{% set a = [a]*10 %}{% set a = [a]*10 %}{% set a = [a]*10 %}";

#[test]
fn values_that_hold_the_same_values_many_times_are_refused() {
    for use_ in [
        "a",
        "a | tojson",
        "a | string",
        "a ~ ''",
        "a | join",
        "a | upper",
        "a | pprint",
        "a == [a]",
        "a < [a]",
        "1 < 2 < a ~ ''",
        "'x' in [a ~ '']",
        "a in [[a, 1]]",
        "{a: 1}",
        "{(a, 1): 1}",
        "{}[a]",
        "'{}'.format(a)",
        "'%s' % a",
        "', '.join(a)",
        "a | sort",
        "[a, [a]] | unique",
        "cycler(a) ~ a",
        "raise_exception(a)",
        "messages[0].get(a)",
        "[a].index(1)",
        "[1, [a]].count([a])",
        "a is eq([a])",
        "[a] | map('string') | list",
        "[a] | select('eq', [[a]]) | list",
        "dict(x=a) | tojson",
    ] {
        let source = format!("{NESTED}{{{{ {use_} }}}}");
        let refused = render(&source, &conversation()).unwrap_err();
        assert!(
            matches!(refused, Error::UnsupportedModel { .. }),
            "{use_}: {refused}"
        );
    }
    // What looks at the list itself alone costs nothing.
    let source =
        format!("{NESTED}{{{{ a | length }}}} {{{{ a is iterable }}}}{{{{ a[0] is none }}}}");
    assert_eq!(render(&source, &conversation()).unwrap(), "10 TrueFalse");
}

#[test]
fn values_that_hold_themselves_are_refused() {
    for source in [
        "{% set ns = namespace(x=1) %}{% set ns.x = ns %}{{ ns.x }}",
        "{% set ns = namespace(x=1) %}{% set ns.x = [{'a': ns}] %}{{ ns.x | tojson }}",
        "{% set a = namespace() %}{% set b = namespace(a=a) %}{% set a.b = b %}{{ a == b }}",
        "{% set ns = namespace() %}{% macro f() %}{{ ns }}{% endmacro %}{% set ns.x = f %}{{ ns.x() }}",
        "{% set ns = namespace() %}{% for i in [1, 2] %}{% set ns.x = loop %}{% endfor %}{{ ns }}",
    ] {
        assert!(render(source, &conversation()).is_err(), "{source}");
    }
}

#[test]
fn deep_values_and_long_programs_do_not_overflow_the_stack() {
    let deeper = "{% set ns = namespace(x=1, y=1) %}{% for i in range(50000) %}{% set ns.x = [ns.x] %}{% set ns.y = (ns.y,) %}{% endfor %}";
    let straight = "{% set x = [1] %}".to_owned() + &"{% set x = [x] %}".repeat(7000);
    for source in [
        format!("{deeper}{{{{ ns.x == ns.y }}}}"),
        format!("{deeper}{{{{ {{ns.y: 1}} | length }}}}"),
        format!("{deeper}{{{{ ns.x }}}}"),
        format!("{straight}{{{{ x ~ '' }}}}"),
        format!("{straight}{{{{ x | tojson }}}}"),
        format!("{straight}{{{{ x == [x] }}}}"),
        // The longest that are compiled, and longer ones.
        format!("{{{{ 1{} }}}}", "~1".repeat(100_000)),
        format!(
            "{{% if 1 %}}{}{{% endif %}}",
            "{% elif 1 %}".repeat(100_000)
        ),
        format!("{{{{ {}1{} }}}}", "(".repeat(50_000), ")".repeat(50_000)),
        format!("{{{{ {}1 }}}}", "not ".repeat(30_000)),
        format!("{{{{ a{} }}}}", "~a".repeat(65_000)),
        format!("{{{{ 'a'{} }}}}", "|d".repeat(65_000)),
        format!("{{% if 0 %}}{}{{% endif %}}", "{%elif 0%}".repeat(13_000)),
        format!("{{{{ {}1 }}}}", "-".repeat(100_000)),
        format!("{{{{ {}1{} }}}}", "[".repeat(50_000), "]".repeat(50_000)),
        format!("{{{{ {}1 }}}}", "'%s' % (".repeat(10_000)),
        "{% if 1 %}".repeat(10_000),
    ] {
        assert!(
            render(&source, &conversation()).is_err(),
            "{}",
            &source[..200]
        );
    }
    let terms = format!("{{{{ a{} }}}}", "~a".repeat(400));
    assert_eq!(render(&terms, &conversation()).unwrap(), "");
    let elifs = format!("{{%if 0%}}{}x{{%endif%}}", "{%elif 0%}".repeat(400));
    assert_eq!(render(&elifs, &conversation()).unwrap(), "");
    assert!(render(&straight, &conversation()).is_ok());
}

#[test]
fn guarded_instructions_do_what_they_did() {
    for (source, expected) in [
        (
            "{{ 1 < 2 < 3 }}{{ 1 < 3 < 2 }}{{ 1 in [1] }}{{ 1 not in [1] }}",
            "TrueFalseTrueFalse",
        ),
        (
            "{% for i in range(3) if i != 1 %}{{ i }}{% if loop.last %}.{% else %}, {% endif %}{% endfor %}",
            "0, 2.",
        ),
        (
            "{% macro f(a, b=2) %}{{ a ~ b }}{% if a == 1 %}!{% endif %}{% endmacro %}{{ f(1) }}{{ f(*[3, 4]) }}{{ f(b=5, a=6) }}",
            "12!3465",
        ),
        (
            "{{ dict([['a', 1]] | items | list, b=2) if false else {'a': 1, 2: [3]}[2][0] }}",
            "3",
        ),
        (
            "{% for i in [[1, [2]]] recursive %}{{ i if i is number else loop(i) }}{% endfor %}",
            "12",
        ),
        (
            "{{ 'a' and 'b' ~ 'c' or 'd' }}{{ 'x' if none == none else 'y' }}",
            "bcx",
        ),
        (
            "{% set ns = namespace(a=[]) %}{% for i in [1, 2] %}{% set ns.a = ns.a + [i] %}{% endfor %}{{ ns.a }}{{ ns.a[1:] }}",
            "[1, 2][2]",
        ),
        (
            "{% set ns = namespace(a=[0] * 2) %}{% set ns.b = ns.a * 2 %}{{ ns.b | length }}{% set ns.b = {'a': 1}.items() %}{{ ns.b }}",
            "4[('a', 1)]",
        ),
        (
            "{% call(x) m() %}<{{ x }}>{% endcall %}{% macro m() %}{{ caller(1) ~ caller(2) }}{% endmacro %}",
            "",
        ),
        ("{% block b %}{{ 1 == 1 }}{% endblock %}", "True"),
        (
            "{{ [3, 1] | sort(reverse=true) | join('-') }}{{ [1, 2] | map('string') | join }}",
            "3-112",
        ),
        ("{{ '{:>3}|{x}'.format(1, x='y') }}", "  1|y"),
        ("{{ '{%}' }}{{ '{{' }}", "{%}{{"),
    ] {
        let text = render(source, &conversation());
        let text = text.unwrap_or_else(|error| error.to_string());
        match expected {
            "" => assert!(text.contains("m is unknown"), "{source}: {text}"),
            _ => assert_eq!(text, expected, "{source}"),
        }
    }
}

#[test]
fn errors_are_short() {
    let source = "{{ raise_exception('ü' * 9999999) }}";
    let refused = render(source, &conversation()).unwrap_err().to_string();
    assert!(
        refused.starts_with("invalid messages = üüü"),
        "{}",
        &refused[..99]
    );
    assert!(refused.len() < 1200, "{} bytes", refused.len());
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(500))]

    #[test]
    fn no_source_makes_the_parser_panic(
        source in r#"([{%}#'"\\ =|.~(a)-]|\{%|%\}|\{\{|\}\}|set a\.b|raw|endraw|generation|ü|%s|[\\]x4|[\\]u12){0,30}"#
    ) {
        if let Err(Error::UnsupportedModel { reason, .. }) = render(&source, &[]) {
            proptest::prop_assert!(!reason.contains("panic"), "{source}: {reason}");
        }
    }
}

#[test]
fn templates_can_ask_for_the_date() {
    let year = render("{{ strftime_now('%Y') }}", &[]).unwrap();
    assert!(year.parse::<u32>().unwrap() >= 2024, "{year}");
}

fn template(source: &str) -> ChatTemplate {
    let special_tokens = BTreeMap::from([("bos_token", "<s>".into())]);
    ChatTemplate::new(&TemplateSource::new(source), &special_tokens)
}

fn message(value: serde_json::Value) -> Message {
    Message::from_json(value).unwrap()
}

/// What Jinja2 and Python's methods give, in transformers' set-up.
#[test]
#[rustfmt::skip]
fn expressions_are_those_of_python() {
    for (source, expected) in [
        (r"{{ none is iterable }} {{ tools is iterable }} {{ undefined is iterable }}", "False False True"),
        (r"{{ 'abc' is sequence }} {{ {'a': 1} is sequence }} {{ 1 is sequence }}", "True True False"),
        (r"{{ range is callable }} {{ 'abc' is callable }}", "True False"),
        (r"{{ 'a,b,c'.rsplit(',', 1) }}", "['a,b', 'c']"),
        (r"{{ 'a,b,c'.split(',', maxsplit=1) }}", "['a', 'b,c']"),
        (r"{{ '  a b  c '.split() }} {{ ' a b c '.split(None, 1) }}", "['a', 'b', 'c'] ['a', 'b c ']"),
        (r"{{ ' a b c '.rsplit(None, 1) }}", "[' a b', 'c']"),
        (r"{{ 'abcb'.index('b') }} {{ 'abcb'.rindex('b') }} {{ 'abc'.find('x') }}", "1 3 -1"),
        (r"{{ 'äbc'.find('b', 1) }} {{ 'aXbXc'.count('X') }}", "1 2"),
        (r"{{ 'a:b:c'.partition(':')[2] }} {{ 'a:b:c'.rpartition(':')[0] }}", "b:c a:b"),
        (r"{{ 'prefix-x'.removeprefix('prefix-') }}{{ 'x.py'.removesuffix('.py') }}", "xx"),
        (r"{{ '7'.zfill(3) }} {{ '-7'.zfill(3) }} {{ 'a'.ljust(3, '.') }} {{ 'a'.rjust(3) }} {{ 'a'.center(4, '*') }}", "007 -07 a..   a *a**"),
        (r"{{ 'aB'.swapcase() }} {{ 'Straße'.casefold() }} {{ 'A Title'.istitle() }}", "Ab strasse True"),
        (r"{{ 'aaa'.replace('a', 'b', 2) }} {{ 'aaa'.replace('a', 'b', count=1) }}", "bba baa"),
        (r"{{ 'abc'.startswith(('x', 'a')) }} {{ 'abc'.endswith('b', 0, 2) }}", "True True"),
        (r"{{ 'a\nb'.splitlines() }} {{ 'a\nb'.splitlines(keepends=True) | length }}", "['a', 'b'] 2"),
        (r"{{ '%s!' % 'x' }} {{ '%d of %d' % (1, 2) }} {{ '%05.2f' % 3.14159 }} {{ 7 % 4 }}", "x! 1 of 2 03.14 3"),
        ("{{ 'one\\\ntwo' }} {{ '\\U0001F642' }} {{ '\\x41\\u00fc\\t' }}|", "onetwo \u{1F642} Aü\t|"),
        (r"{% set j = joiner(', ') %}{% for i in [1, 2] %}{{ j() }}{{ i }}{% endfor %}", "1, 2"),
        (r"{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.next() }}{{ c.next() }}", "aba"),
        (r"{{ {'b': 1, 'a': 2} | tojson(sort_keys=True) }}", r#"{"a": 2, "b": 1}"#),
        (r"{{ {'a': [1, 2]} | tojson(separators=(',', ':')) }}", r#"{"a":[1,2]}"#),
        (r"{{ 'ü🙂' | tojson(ensure_ascii=True) }} {{ 'ü' | tojson }}", r#""\u00fc\ud83d\ude42" "ü""#),
        (r"{{ {'a': [], 'b': {}} | tojson(indent=1) }}", "{\n \"a\": [],\n \"b\": {}\n}"),
        (r"{{ 1e20 }} {{ 0.1 }} {{ 2.0 }} {{ 1e-7 | tojson }}", "1e+20 0.1 2.0 1e-07"),
        (r"{{ [1, 'a', none, true] }} {{ {'k': 'v'} }}", "[1, 'a', None, True] {'k': 'v'}"),
        (r"{% raw %}{{ '%s' % x }}{% endraw %}", "{{ '%s' % x }}"),
        (r#"{# '%s' % x }} #}{{ "it's" }} {{ 'a}}b' }}"#, "it's a}}b"),
    ] {
        let text = template(source).render(&[Message::new("user", "Hi")], &RenderOptions::default());
        assert_eq!(text.unwrap_or_else(|error| error.to_string()), expected, "{source}");
    }
}

const LISTS: &str = "{% for m in messages %}<{{ m.role }}>{% for part in m.content %}{% if part.type == 'text' %}{{ part.text }}{% endif %}{% endfor %}{% endfor %}";
const TEXTS: &str = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}";
const CHAIN: &str = "{% for m in messages %}{% if m.role == 'system' %}[S {{ m.content }}]{% elif m.role == 'user' %}[U {{ m.content }}]{% elif m.role == 'assistant' %}[A {{ m.content }}]{% endif %}{% endfor %}";
const USERS: &str = "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('No system') }}{% endif %}[{{ m.role }} {{ m.content }}]{% endfor %}";

#[test]
fn contents_are_what_the_template_reads() {
    let content = json!([{"type": "text", "text": "one"}, {"type": "text", "text": "two"}]);
    let parts = message(json!({"role": "user", "content": content}));
    let text = Message::new("user", "one");
    let render = |source, message: &Message| {
        let messages = std::slice::from_ref(message);
        let text = template(source).render(messages, &RenderOptions::default());
        text.unwrap()
    };
    assert_eq!(render(LISTS, &parts), "<user>onetwo");
    assert_eq!(render(LISTS, &text), "<user>one");
    assert_eq!(render(TEXTS, &parts), "<user>one\ntwo");
    assert_eq!(render(TEXTS, &text), "<user>one");
}

#[test]
fn roles_are_those_that_the_template_knows() {
    let render = |source, role: &str| {
        let messages = [Message::new(role, "Be brief."), Message::new("user", "Hi")];
        template(source).render(&messages, &RenderOptions::default())
    };
    assert_eq!(render(CHAIN, "developer").unwrap(), "[S Be brief.][U Hi]");
    assert_eq!(
        render(TEXTS, "developer").unwrap(),
        "<system>Be brief.<user>Hi"
    );
    for role in ["system", "developer"] {
        assert_eq!(render(USERS, role).unwrap(), "[user Be brief.\n\nHi]");
    }
    let knows = "{% for m in messages %}{% if m.role == 'developer' %}[D {{ m.content }}]{% else %}[{{ m.content }}]{% endif %}{% endfor %}";
    assert_eq!(render(knows, "developer").unwrap(), "[D Be brief.][Hi]");
    let refused = render(CHAIN, "wizard").unwrap_err().to_string();
    assert!(
        refused.starts_with("invalid messages[0].role = wizard"),
        "{refused}"
    );
}

#[test]
fn every_field_reaches_the_template() {
    let show = "{% for m in messages %}{{ m.content if m.content is not none else '-' }}{% for c in m.tool_calls or [] %}[{{ c.function.name }} {{ c.function.arguments.at }}]{% endfor %}{{ m.name }}{{ m.reasoning_content }}{% endfor %}";
    let function = json!({"name": "clock", "arguments": "{\"at\": \"noon\"}"});
    let call = json!({"id": "1", "type": "function", "function": function});
    let messages = [
        message(json!({"role": "user", "content": "Q", "name": "Ann"})),
        message(json!({
            "role": "assistant", "content": null, "tool_calls": [call], "reasoning_content": "Hm",
        })),
    ];
    let options = RenderOptions::default();
    let text = template(show).render(&messages, &options);
    assert_eq!(text.unwrap(), "QAnn-[clock noon]Hm");
    let refused = template(TEXTS).render(&messages, &options).unwrap_err();
    assert!(
        refused.to_string().contains("messages[1].tool_calls"),
        "{refused}"
    );
}

#[test]
fn options_reach_the_template() {
    let source = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{% if tools %}[{{ tools | length }} tools]{% endif %}{% if add_generation_prompt %}<assistant>{% if enable_thinking is defined and not enable_thinking %}<think></think>{% endif %}{% endif %}";
    let talk = [
        Message::new("user", "Hi"),
        Message::new("assistant", " Hello, I "),
    ];
    let render = |options: &RenderOptions| template(source).render(&talk, options);
    let variables = json!({"enable_thinking": false});
    let quiet = RenderOptions {
        variables: variables.as_object().unwrap().clone(),
        ..RenderOptions::default()
    };
    assert!(render(&quiet).unwrap().ends_with("<think></think>"));
    let tools = RenderOptions {
        tools: vec![json!({"type": "function"})],
        ..RenderOptions::default()
    };
    assert!(render(&tools).unwrap().contains("[1 tools]"));
    assert!(template(TEXTS).render(&talk, &tools).is_err());
    let continued = RenderOptions {
        add_generation_prompt: false,
        continue_final_message: true,
        ..RenderOptions::default()
    };
    assert_eq!(render(&continued).unwrap(), "<user>Hi<assistant> Hello, I ");
    let both = RenderOptions {
        add_generation_prompt: true,
        ..continued
    };
    assert!(render(&both).is_err());
}
