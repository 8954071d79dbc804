//! Reads the conversation of a request for a response: the items of the response that it continues, then its own.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashSet},
};

use homereel_engine::MessageRole;
use serde::Deserialize;
use serde_json::{json, value::RawValue};

use super::super::body::{MediaByMarker, SpooledFile};
use super::super::parameters::parse;
use super::canonical::{Canonical, ItemIds};
use super::items::{Kind, MessageBuilder, WireItem};
use super::record::Known;
use crate::http::error::{Failure, shown};
use crate::media::ClipRequest;

/// The items of kept responses.
#[derive(Debug, Default)]
pub(super) struct Earlier<'a> {
    /// The conversation that the request continues.
    items: Vec<&'a RawValue>,
    /// Ids of these items.
    ids: HashSet<String>,
    /// Items of other responses, by id.
    others: BTreeMap<String, &'a RawValue>,
}

#[derive(Deserialize)]
struct Output<'a> {
    #[serde(borrow)]
    output: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Identified<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
}

impl<'a> Earlier<'a> {
    /// Parses the items of kept responses.
    pub(super) fn of(known: &'a Known) -> Result<Self, Failure> {
        let damaged =
            |error: serde_json::Error| Failure::internal(format!("a kept response is damaged: {error}"));
        let output = |object: &'a str| {
            serde_json::from_str::<Output<'a>>(object).map(|object| object.output).map_err(damaged)
        };
        let id_of = |item: &RawValue| {
            serde_json::from_str::<Identified<'_>>(item.get())
                .map(|item| item.id.into_owned())
                .map_err(damaged)
        };
        let mut earlier = Self::default();
        if let Some(previous) = &known.previous {
            earlier.items = serde_json::from_str(&previous.stored.items).map_err(damaged)?;
            earlier.items.extend(output(&previous.stored.object)?);
            for item in &earlier.items {
                earlier.ids.insert(id_of(item)?);
            }
        }
        for object in known.referenced.values() {
            for item in output(object)? {
                earlier.others.insert(id_of(item)?, item);
            }
        }
        Ok(earlier)
    }
}

/// Reads the items of a conversation.
#[derive(Debug)]
pub(super) struct ConversationReader<'a> {
    pub(super) messages: MessageBuilder<'a>,
    pub(super) ids: ItemIds,
    /// How to sample the videos of the request.
    frames: ClipRequest,
    /// Whether the items are kept.
    store: bool,
    /// The items in their lasting form.
    pub(super) items: Vec<Box<RawValue>>,
    /// The files of the items, by SHA-256.
    pub(super) files: BTreeMap<String, SpooledFile>,
}

impl<'a> ConversationReader<'a> {
    /// Starts a conversation; `store` says whether its items are kept.
    pub(super) fn new(ids: ItemIds, frames: ClipRequest, store: bool) -> Self {
        let messages = MessageBuilder::default();
        Self { messages, ids, frames, store, items: Vec::new(), files: BTreeMap::new() }
    }

    /// Reads the earlier items and those of `input`.
    ///
    /// # Errors
    /// Names the item and field that do not fit.
    pub(super) fn read(
        &mut self,
        earlier: &Earlier<'a>,
        input: &'a RawValue,
        media: &MediaByMarker,
    ) -> Result<(), Failure> {
        for item in &earlier.items {
            let parsed: WireItem<'a> = parse("previous_response_id", item)?;
            // Sampled as it was then.
            self.messages.add(None, parsed, ClipRequest::default())?;
            self.keep(item);
        }
        match input.get().as_bytes().first() {
            Some(b'"') => {
                let text: Cow<'a, str> = Cow::Owned(parse("input", input)?);
                let item = json!({
                    "id": self.ids.next("msg"), "type": "message", "status": "completed", "role": "user",
                    "content": [{ "type": "input_text", "text": text }],
                });
                self.messages.add_text("input", MessageRole::User, text);
                self.items.push(serde_json::value::to_raw_value(&item).map_err(Failure::internal)?);
                return Ok(());
            }
            Some(b'[') => {}
            _ => {
                let message = "input is neither a string nor an array of items; one of them would fit";
                return Err(Failure::invalid("input", message));
            }
        }
        let items: Vec<&'a RawValue> = parse("input", input)?;
        if items.is_empty() {
            return Err(Failure::invalid("input", "input is empty; a string or at least 1 item would fit"));
        }
        for (at, raw) in items.into_iter().enumerate() {
            let place = format!("input[{at}]");
            let item: WireItem<'a> = parse(&place, raw)?;
            if item.kind(&place)? == Kind::Reference {
                self.refer(at, &place, item.id.as_deref(), earlier)?;
                continue;
            }
            if self.store {
                let mut canonical =
                    Canonical { media, frames: self.frames, files: std::mem::take(&mut self.files) };
                self.items.push(canonical.item(&place, &item, &mut self.ids)?);
                self.files = canonical.files;
            }
            self.messages.add(Some(at), item, self.frames)?;
        }
        Ok(())
    }

    /// Adds the item that a reference names.
    fn refer(
        &mut self,
        at: usize,
        place: &str,
        id: Option<&str>,
        earlier: &Earlier<'a>,
    ) -> Result<(), Failure> {
        let param = format!("{place}.id");
        let id = id.ok_or_else(|| {
            Failure::invalid(param.clone(), format!("{param} is missing; the id of an item would fit"))
        })?;
        // It is part of the conversation already.
        if earlier.ids.contains(id) {
            return Ok(());
        }
        let Some(item) = earlier.others.get(id) else {
            let message = format!(
                "no item {} is kept; items of the previous response and outputs of others are kept for 24 hours",
                shown(id)
            );
            return Err(Failure::invalid(param, message));
        };
        self.messages.add(Some(at), parse(place, item)?, ClipRequest::default())?;
        self.keep(item);
        Ok(())
    }

    fn keep(&mut self, item: &RawValue) {
        if self.store {
            self.items.push(item.to_owned());
        }
    }

    /// Adds a file of the earlier items.
    pub(super) fn add_file(&mut self, file: &SpooledFile) {
        if let Some(sha256) = file.source.sha256() {
            self.files.insert(sha256.to_owned(), file.clone());
        }
    }
}
