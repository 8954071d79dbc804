//! The tools: what each calls, and the part of the answer that a model needs.

use std::fmt::Display;

use axum::http::request::Parts;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use homereel_library::Role;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rmcp::model::{CallToolResult, ContentBlock, JsonObject, Tool, ToolAnnotations};
use rmcp::{handler::server::common::schema_for_type, schemars::JsonSchema};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::{
    api::{Api, ApiAnswer, ApiError},
    arguments::{AskAllVideos, AskVideo, GetFrame, GetTranscript, ListVideos, OneVideo, SearchVideos},
};

/// Default and maximum numbers of videos in a result.
const FOUND: u32 = 10;
const LISTED: u32 = 20;
const MOST: u32 = 50;

/// Default and maximum numbers of lines of a transcript in a result.
const LINES: u32 = 200;
const MOST_LINES: u32 = 500;

/// Default width of a picture in pixels: what a model sees well enough.
const WIDTH: u32 = 768;

/// Header of a picture: when the video begins to show it, in seconds.
const FRAME_TIME: &str = "homereel-frame-time";

/// The tools for a role: name, title, description, schema of the arguments.
pub(super) fn list(role: Role) -> Vec<Tool> {
    let mut tools = vec![
        tool::<SearchVideos>(
            "search_videos",
            "Search videos",
            "Finds videos, and the seconds in them where something happens, is said or is written about. Start here.",
        ),
        tool::<ListVideos>("list_videos", "List videos", "Lists all videos, those taken last first."),
        tool::<OneVideo>(
            "describe_video",
            "Describe a video",
            "Returns what a video shows: its description, tags, date, place, camera and length.",
        ),
        tool::<OneVideo>(
            "list_moments",
            "List moments",
            "Returns what happens in a video, each moment with its start and end in seconds.",
        ),
        tool::<GetTranscript>(
            "get_transcript",
            "Read what is said",
            "Returns what is said in a video, each line with its start and end in seconds.",
        ),
        tool::<GetFrame>("get_frame", "Get a picture", "Returns the picture that a video shows at a second."),
    ];
    if role >= Role::Member {
        tools.extend([
            tool::<AskVideo>(
                "ask_video",
                "Ask about a video",
                "Has a vision model watch a video, or a part of it, and answer a question. It takes seconds to minutes.",
            ),
            tool::<AskAllVideos>(
                "ask_all_videos",
                "Ask about all videos",
                "Has a model answer a question from the descriptions and moments of all videos, with the notes that it used.",
            ),
        ]);
    }
    tools
}

fn tool<A: JsonSchema + 'static>(name: &'static str, title: &str, about: &'static str) -> Tool {
    let hints = ToolAnnotations::with_title(title).read_only(true).open_world(false);
    Tool::new(name, about, schema_for_type::<A>()).with_title(title).with_annotations(hints)
}

/// Runs a tool. `None` means that there is no tool of this name.
pub(super) async fn call(
    api: &Api,
    caller: Option<&Parts>,
    name: &str,
    arguments: JsonObject,
) -> Option<CallToolResult> {
    let call = Call { api, caller };
    let arguments = Value::Object(arguments);
    let result = match name {
        "search_videos" => call.search_videos(arguments).await,
        "list_videos" => call.list_videos(arguments).await,
        "describe_video" => call.describe_video(arguments).await,
        "list_moments" => call.list_moments(arguments).await,
        "get_transcript" => call.get_transcript(arguments).await,
        "get_frame" => call.get_frame(arguments).await,
        "ask_video" => call.ask_video(arguments).await,
        "ask_all_videos" => call.ask_all_videos(arguments).await,
        _ => return None,
    };
    // A model reads the message and can correct its arguments; an error of the protocol would end up with the program.
    Some(result.unwrap_or_else(|error| CallToolResult::error(vec![ContentBlock::text(error.to_string())])))
}

/// Why a tool has no result.
#[derive(Debug, thiserror::Error)]
enum ToolError {
    #[error("the arguments do not fit: {0}")]
    Arguments(#[from] serde_json::Error),
    #[error("limit is {value}; 1 to {most} would fit")]
    Limit { value: u32, most: u32 },
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error("the answer failed: {0}")]
    Answer(String),
}

type Result<T> = std::result::Result<T, ToolError>;

struct Call<'a> {
    api: &'a Api,
    caller: Option<&'a Parts>,
}

impl Call<'_> {
    async fn get(&self, url: &str) -> Result<ApiAnswer> {
        Ok(self.api.get(self.caller, url).await?)
    }

    async fn search_videos(&self, arguments: Value) -> Result<CallToolResult> {
        let wanted: SearchVideos = parse(arguments)?;
        let mut query = Query::new("/api/search");
        query.add("q", &wanted.query);
        query.add("limit", limit(wanted.limit, FOUND, MOST)?);
        query.add("offset", wanted.offset.unwrap_or(0));
        for (name, value) in
            [("from", wanted.from), ("to", wanted.to), ("camera", wanted.camera), ("tag", wanted.tag)]
        {
            query.add(name, value.unwrap_or_default());
        }
        query.add("favourite", if wanted.favourites_only { "1" } else { "" });
        let found = self.get(&query.url).await?.json()?;
        let videos: Vec<Value> = list_of(&found["videos"])
            .iter()
            .map(|video| {
                let mut short = pick(video, &["id", "name", "url", "duration_s", "camera"]);
                short["taken"] = video["taken"]["local"].clone();
                short["places"] = list_of(&video["places"]).iter().map(place).collect();
                short
            })
            .collect();
        let mut result = pick(&found, &["total", "next_offset", "meaning"]);
        result["videos"] = videos.into();
        Ok(CallToolResult::structured(result))
    }

    async fn list_videos(&self, arguments: Value) -> Result<CallToolResult> {
        let wanted: ListVideos = parse(arguments)?;
        let mut query = Query::new("/api/videos");
        query.add("limit", limit(wanted.limit, LISTED, MOST)?);
        query.add("offset", wanted.offset.unwrap_or(0));
        let listed = self.get(&query.url).await?.json()?;
        let videos: Vec<Value> = list_of(&listed["videos"]).iter().map(summary).collect();
        Ok(CallToolResult::structured(json!({ "total": listed["total"], "videos": videos })))
    }

    async fn describe_video(&self, arguments: Value) -> Result<CallToolResult> {
        let OneVideo { video } = parse(arguments)?;
        let video = self.get(&video_url(&video, "")).await?.json()?;
        let mut described = summary(&video);
        described["place"] = video["place"].clone();
        described["camera"] = video["probe"]["camera"].clone();
        described["favourite"] = video["favourite"].clone();
        described["url"] = format!("/videos/{}", video["id"].as_str().unwrap_or_default()).into();
        described["unreadable_because"] = video["error"].clone();
        Ok(CallToolResult::structured(described))
    }

    async fn list_moments(&self, arguments: Value) -> Result<CallToolResult> {
        let OneVideo { video } = parse(arguments)?;
        let moments = self.get(&video_url(&video, "/moments.json")).await?.json()?;
        Ok(CallToolResult::structured(pick(&moments, &["video", "moments"])))
    }

    async fn get_transcript(&self, arguments: Value) -> Result<CallToolResult> {
        let wanted: GetTranscript = parse(arguments)?;
        let mut query = Query::new(&video_url(&wanted.video, "/transcript.json"));
        query.add("first", wanted.first.unwrap_or(0));
        query.add("limit", limit(wanted.limit, LINES, MOST_LINES)?);
        let transcript = self.get(&query.url).await?.json()?;
        let lines: Vec<Value> =
            list_of(&transcript["lines"]).iter().map(|line| pick(line, &["start", "end", "text"])).collect();
        let mut result = pick(&transcript, &["video", "state", "language", "note", "line_count"]);
        result["lines"] = lines.into();
        Ok(CallToolResult::structured(result))
    }

    async fn get_frame(&self, arguments: Value) -> Result<CallToolResult> {
        let GetFrame { video, second, width } = parse(arguments)?;
        let mut query = Query::new(&video_url(&video, "/frame.jpg"));
        query.add("t", second);
        query.add("width", width.unwrap_or(WIDTH));
        let frame = self.get(&query.url).await?;
        let at = frame.headers.get(FRAME_TIME).and_then(|value| value.to_str().ok()).unwrap_or("?");
        Ok(CallToolResult::success(vec![
            ContentBlock::image(STANDARD.encode(&frame.body), "image/jpeg"),
            ContentBlock::text(format!("The picture at second {at} of video {video}.")),
        ]))
    }

    async fn ask_video(&self, arguments: Value) -> Result<CallToolResult> {
        let AskVideo { video, question, start, end } = parse(arguments)?;
        // Unlike a question on the page of the video, this one is stored nowhere.
        let content = json!([
            { "type": "video_url", "video_url": { "url": format!("homereel:{video}") } },
            { "type": "text", "text": question },
        ]);
        let mut request = json!({ "messages": [{ "role": "user", "content": content }] });
        let mut part = json!({});
        for (name, second) in [("start", start), ("end", end)] {
            if let Some(second) = second {
                part[name] = second.into();
            }
        }
        request["media_io_kwargs"] = json!({ "video": part });
        let answer = self.api.post(self.caller, "/v1/chat/completions", &request).await?.json()?;
        let choice = &answer["choices"][0];
        Ok(CallToolResult::structured(json!({
            "answer": choice["message"]["content"], "cut_off": choice["finish_reason"] == "length", "model": answer["model"],
        })))
    }

    async fn ask_all_videos(&self, arguments: Value) -> Result<CallToolResult> {
        let AskAllVideos { question } = parse(arguments)?;
        // No tool changes anything: the question is not kept.
        let request = json!({ "question": question, "keep": false });
        let stream = self.api.post(self.caller, "/api/ask", &request).await?;
        let (mut answer, mut notes, mut model) = (String::new(), Value::Null, Value::Null);
        for (name, data) in events(&String::from_utf8_lossy(&stream.body)) {
            match name.as_str() {
                "notes" => notes = data["notes"].clone(),
                "token" => answer.push_str(data["text"].as_str().unwrap_or_default()),
                "done" => model = data["model"].clone(),
                "error" => {
                    return Err(ToolError::Answer(data["detail"].as_str().unwrap_or("no reason").to_owned()));
                }
                _ => {}
            }
        }
        let fields = ["number", "video", "name", "day", "start", "text", "url"];
        let notes: Vec<Value> = list_of(&notes).iter().map(|note| pick(note, &fields)).collect();
        Ok(CallToolResult::structured(json!({ "answer": answer, "notes": notes, "model": model })))
    }
}

fn parse<T: DeserializeOwned>(arguments: Value) -> Result<T> {
    Ok(serde_json::from_value(arguments)?)
}

fn limit(given: Option<u32>, usual: u32, most: u32) -> Result<u32> {
    let value = given.unwrap_or(usual);
    if (1..=most).contains(&value) { Ok(value) } else { Err(ToolError::Limit { value, most }) }
}

/// A URL with a query. Empty values are left out.
struct Query {
    url: String,
}

impl Query {
    fn new(path: &str) -> Self {
        Self { url: format!("{path}?") }
    }

    fn add(&mut self, name: &str, value: impl Display) {
        let value = value.to_string();
        if !value.is_empty() {
            self.url.push_str(&format!("{name}={}&", utf8_percent_encode(&value, NON_ALPHANUMERIC)));
        }
    }
}

fn video_url(id: &str, rest: &str) -> String {
    format!("/api/videos/{}{rest}", utf8_percent_encode(id, NON_ALPHANUMERIC))
}

fn list_of(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// Returns an object with those of the fields that are there.
fn pick(value: &Value, fields: &[&str]) -> Value {
    let there = fields.iter().filter_map(|name| Some(((*name).to_owned(), value.get(*name)?.clone())));
    Value::Object(there.collect())
}

fn summary(video: &Value) -> Value {
    json!({
        "id": video["id"],
        "name": video["name"],
        "taken": video["taken"]["local"],
        "duration_s": video["probe"]["duration_s"],
        "description": video["description"]["content"],
        "tags": video["tags"]["content"],
    })
}

/// A hit of a search, whose text is in parts there, because some are marked.
fn place(place: &Value) -> Value {
    let parts = list_of(&place["snippet"]).iter();
    let text: String = parts.filter_map(|part| part["text"].as_str()).collect();
    let mut short = pick(place, &["kind", "start", "end", "why", "url"]);
    short["text"] = text.into();
    short
}

/// Parses server-sent events, as this server writes them: one line of JSON each.
fn events(text: &str) -> impl Iterator<Item = (String, Value)> {
    text.split("\n\n").filter_map(|event| {
        let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let data = serde_json::from_str(field("data:")?).ok()?;
        Some((field("event:")?.to_owned(), data))
    })
}

#[cfg(test)]
#[path = "tools_tests.rs"]
mod tests;
