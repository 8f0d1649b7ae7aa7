//! /v1/completions and /v1/chat/completions.

use std::marker::PhantomData;
use std::sync::{Arc, LazyLock};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};

use super::stream;
use crate::decoder::{Prompt, SpeculativeDecoder};
use crate::server::answer::{Answer, Work};
use crate::server::body::Body;
use crate::server::clients::Client;
use crate::server::error::ApiError;
use crate::server::metrics::RequestMetrics;
use crate::server::openai::{
    Chat, ChatRequest, CommonFields, Completion, CompletionRequest, Count, Fields, Format,
    FormatFields, Ignored, MAX_PROMPTS, PromptField, Responder, SettingFields, Spelling,
    TemplateFields, config,
};
use crate::server::request_id::fresh_id;
use crate::server::state::{Admitted, AppState, SharedState, now};
use crate::settings::SpeculativeConfig;

/// A validated request.
struct Checked<F> {
    admitted: Admitted,
    decoder: SpeculativeDecoder,
    prompts: Vec<Vec<u32>>,
    config: SpeculativeConfig,
    common: CommonFields,
    responder: Responder<F>,
    ignored: Ignored,
}

static CHAT_FIELDS: LazyLock<Fields> =
    LazyLock::new(|| common_fields().and::<TemplateFields>().and::<ChatRequest>());

static COMPLETION_FIELDS: LazyLock<Fields> =
    LazyLock::new(|| common_fields().and::<CompletionRequest>());

fn common_fields() -> Fields {
    Fields::none()
        .and::<SettingFields>()
        .and::<CommonFields>()
        .and::<FormatFields>()
}

/// Answers a conversation.
pub(in crate::server) async fn chat(
    State(state): SharedState,
    Extension(client): Extension<Client>,
    body: Result<Body, ApiError>,
) -> Result<Response, ApiError> {
    let request = async { check_chat(&state, client, &body?).await };
    answer(&state, request).await
}

/// Continues texts.
pub(in crate::server) async fn completions(
    State(state): SharedState,
    Extension(client): Extension<Client>,
    body: Result<Body, ApiError>,
) -> Result<Response, ApiError> {
    let request = async { check_completion(&state, client, &body?).await };
    answer(&state, request).await
}

async fn check_chat(
    state: &Arc<AppState>,
    client: Client,
    body: &Body,
) -> Result<Checked<Chat>, ApiError> {
    let mut ignored = CHAT_FIELDS.check(body.fields(), state.options.strict)?;
    let mut request: ChatRequest = body.parse()?;
    let (settings, common, format): (_, CommonFields, _) =
        (body.parse()?, body.parse()?, body.parse()?);
    let (template, unread) = body.parse::<TemplateFields>()?.for_answer(&state.decoder)?;
    ignored.add(unread, state.options.strict)?;
    let messages = request.take_messages()?;
    let decoder = state.decoders.of(client, common.cache_salt()?);
    let admitted = state.admit(client, common.choices())?;
    let prompt = state.blocking(&state.texts, admitted.deadline, move |state| {
        let prompt = state.decoder.chat_prompt(&messages, &template)?;
        Ok(state.decoder.prompt_tokens(prompt)?)
    });
    let prompt = prompt.await?;
    let defaults = SpeculativeConfig {
        max_new_tokens: state.default_tokens(prompt.len()),
        logprobs: request.logprobs()?,
        ..state.options.defaults.clone()
    };
    let config = config(settings, &common, format, defaults)?;
    Ok(Checked {
        admitted,
        decoder,
        prompts: vec![prompt],
        responder: responder(state, &common, &config),
        config,
        common,
        ignored,
    })
}

/// The default maximum of a completion's tokens, as in OpenAI's API.
const COMPLETION_TOKENS: usize = 16;

async fn check_completion(
    state: &Arc<AppState>,
    client: Client,
    body: &Body,
) -> Result<Checked<Completion>, ApiError> {
    let ignored = COMPLETION_FIELDS.check(body.fields(), state.options.strict)?;
    let request: CompletionRequest = body.parse()?;
    let (settings, common, format): (_, CommonFields, _) =
        (body.parse()?, body.parse()?, body.parse()?);
    let each = common.choices();
    request.check(each)?;
    let decoder = state.decoders.of(client, common.cache_salt()?);
    let defaults = SpeculativeConfig {
        max_new_tokens: COMPLETION_TOKENS,
        logprobs: request.logprobs.map(|Count(count)| count),
        ..state.options.defaults.clone()
    };
    let mut config = config(settings, &common, format, defaults)?;
    let echo = request.echo.unwrap_or(false);
    let prompts: Vec<Prompt> = match request.prompt {
        PromptField::Text(text) => vec![text.into()],
        PromptField::Tokens(tokens) => vec![tokens.into()],
        PromptField::Texts(texts) => texts.into_iter().map(Prompt::from).collect(),
        PromptField::TokenLists(lists) => lists.into_iter().map(Prompt::from).collect(),
    };
    if prompts.is_empty() || prompts.len() > MAX_PROMPTS {
        let message = format!("{} prompts: expected 1 to {MAX_PROMPTS}", prompts.len());
        return Err(ApiError::invalid("prompt", message));
    }
    let mut responder = responder(state, &common, &config);
    let admitted = state.admit(client, prompts.len() * each)?;
    let (prompts, echoed) = state
        .blocking(&state.texts, admitted.deadline, move |state| {
            let mut echoed = Vec::new();
            let mut tokens = Vec::with_capacity(prompts.len());
            for prompt in prompts {
                let prompt = state.decoder.prompt_tokens(prompt)?;
                if echo {
                    let text = state.decoder.tokenizer().decode(&prompt, true)?;
                    echoed.extend(std::iter::repeat_n(text, each));
                }
                tokens.push(prompt);
            }
            Ok((tokens, echoed))
        })
        .await?;
    responder.echoed = echoed;
    if common.is_unlimited() {
        let longest = prompts.iter().map(Vec::len).max().unwrap_or(0);
        config.max_new_tokens = state.default_tokens(longest);
    }
    Ok(Checked {
        admitted,
        decoder,
        prompts,
        config,
        common,
        responder,
        ignored,
    })
}

fn responder<F: Format>(
    state: &AppState,
    common: &CommonFields,
    config: &SpeculativeConfig,
) -> Responder<F> {
    Responder {
        id: format!("{}{}", F::ID_PREFIX, fresh_id()),
        created: now(),
        model: state.options.model.clone(),
        return_tokens: common.return_tokens(),
        logprobs: config.logprobs.is_some(),
        spelling: Spelling(state.decoder.tokenizer().clone()),
        echoed: Vec::new(),
        format: PhantomData,
    }
}

/// Answers a request, and counts it.
async fn answer<F: Format>(
    state: &Arc<AppState>,
    request: impl Future<Output = Result<Checked<F>, ApiError>>,
) -> Result<Response, ApiError> {
    let metrics = state.metrics.request();
    let response = async { respond(state, request.await?, metrics.clone()).await }.await;
    if let Err(error) = &response {
        metrics.refused(error.code());
    }
    response
}

async fn respond<F: Format>(
    state: &Arc<AppState>,
    request: Checked<F>,
    metrics: RequestMetrics,
) -> Result<Response, ApiError> {
    let Checked {
        admitted,
        decoder,
        prompts,
        config,
        common,
        responder,
        ignored,
    } = request;
    let count = prompts.len();
    let each = common.choices();
    let work = Work {
        decoder,
        prompts,
        config,
        each,
        // The table is one for all.
        table_updates: match common.cache_salt()? {
            None => state.table_updates.clone(),
            Some(_) => None,
        },
    };
    let answer = Answer::start(state, admitted, work, &metrics).await?;
    if !common.stream.unwrap_or(false) {
        let generations = answer.gather().await?;
        let response = Json(responder.response(&generations, count)).into_response();
        return Ok(ignored.named_in(response));
    }
    let writer = stream::Writer {
        responder,
        include_usage: common.include_usage(),
        prompts: count,
        metrics,
    };
    Ok(ignored.named_in(writer.respond(answer, count * common.choices())))
}
