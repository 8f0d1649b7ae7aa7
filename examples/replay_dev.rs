use std::collections::BTreeMap;
use specdec_rs::speculation::{replay::replay};
use specdec_rs::*;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let decoder = SpeculativeDecoder::builder().target(&args[1]).load().unwrap();
    for _ in 0..400 { for (rows, cost) in [(1, 1.0), (2, 1.05), (3, 1.18), (4, 1.3), (6, 1.5), (8, 1.7), (16, 3.2), (32, 6.2)] { decoder.costs().observe_pass(300, rows, cost); } }
    let file = std::fs::read_to_string(format!("/tmp/replay/{}.jsonl", args[1])).unwrap();
    let wanted: f64 = args[2].parse().unwrap();
    let kind: DraftKind = args.get(3).map_or("auto", |s| s).parse().unwrap();
    let gamma = args.get(4).map_or(16, |s| s.parse().unwrap());
    let mut by: BTreeMap<String, (f64, f64, usize, usize)> = BTreeMap::new();
    let t = std::time::Instant::now();
    for line in file.lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        if value["temperature"] != wanted { continue; }
        let messages: Vec<Message> = value["messages"].as_array().unwrap().iter().map(|m| Message::new(m["role"].as_str().unwrap(), m["content"].as_str().unwrap())).collect();
        let prompt = match decoder.chat_prompt(&messages) {
            Ok(Prompt::Tokens(prompt)) => prompt,
            _ => decoder.tokenizer().encode(&(messages.iter().map(|m| m.content.clone()).collect::<Vec<_>>().join("\n\n") + "\n"), true).unwrap(),
        };
        assert_eq!(prompt.len() as u64, value["prompt_tokens"].as_u64().unwrap());
        let output: Vec<u32> = value["tokens"].as_array().unwrap().iter().map(|t| t.as_u64().unwrap() as u32).collect();
        let config = SpeculativeConfig { temperature: wanted, gamma, draft: Some(kind), ..Default::default() };
        let mut c = decoder.controller_for(&config, prompt.len()).unwrap();
        let text = [&prompt[..], &output].concat();
        let top: Vec<Vec<u32>> = serde_json::from_value(value["top"].clone()).unwrap();
        let r = replay(&mut c, &prompt, &output, |from, to| for at in from..to {
            decoder.successors().remember(text[at - 1], &top[at - prompt.len()]);
        }).unwrap();
        let e = by.entry(value["category"].as_str().unwrap().into()).or_default();
        e.0 += r.tokens as f64; e.1 += r.cost; e.2 += r.steps; e.3 += r.drafted;
    }
    let mut all = (0.0, 0.0, 0, 0, 0);
    for (k, (t, c, s, d)) in &by { println!("{k:16} {:.3}  tokens/step {:.2} drafted/step {:.2}", t / c, t / *s as f64, *d as f64 / *s as f64); all.0 += t; all.1 += c; all.2 += s; all.3 += d; all.4 += *t as usize; }
    println!("{:16} {:.3}  tokens/step {:.2} drafted/step {:.2}; {:.1} us a token", "all", all.0 / all.1, all.0 / all.2 as f64, all.3 as f64 / all.2 as f64, t.elapsed().as_secs_f64() * 1e6 / all.0);
}
