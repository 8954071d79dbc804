//! The Responses API of the real program: text, clips, streams, tools, and conversations that go on, also after the server was
//! killed.

use anyhow::{Context as _, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use homereel_clips::Skill;
use homereel_tests::{Server, clips, homereel};
use serde_json::{Value, json};

const QUESTION: &str = "What color is the object?";

/// A clip and what is true of it.
struct Asked {
    url: String,
    colour: String,
}

impl Asked {
    fn new() -> anyhow::Result<Self> {
        let clip = clips::simple(1)?;
        let truth = clip.questions.iter().find(|q| q.skill == Skill::Colour).context("a colour")?;
        let url = format!("data:video/mp4;base64,{}", STANDARD.encode(std::fs::read(&clip.file)?));
        Ok(Self { url, colour: truth.answer.clone() })
    }

    /// Returns a question about the clip, which is in a part of this type and field.
    fn question(&self, kind: &str, field: &str) -> Value {
        let video = json!({ "type": kind, field: self.url });
        let content = json!([video, { "type": "input_text", "text": QUESTION }]);
        json!({ "input": [{ "role": "user", "content": content }], "temperature": 0 })
    }
}

async fn told(server: &Server, body: &Value) -> anyhow::Result<Value> {
    let response = server.respond(body).await?;
    let status = response.status();
    let told: Value = response.json().await?;
    ensure!(status.is_success(), "{status}: {told}");
    Ok(told)
}

fn text(response: &Value) -> &str {
    response["output"][0]["content"][0]["text"].as_str().unwrap_or_default()
}

/// Returns the data of a stream's events.
async fn streamed(server: &Server, body: &Value) -> anyhow::Result<Vec<Value>> {
    let mut body = body.clone();
    body["stream"] = true.into();
    let sent = server.respond(&body).await?.error_for_status()?.text().await?;
    let data = sent.lines().filter_map(|line| line.strip_prefix("data: "));
    Ok(data.map(serde_json::from_str).collect::<Result<_, _>>()?)
}

#[tokio::test]
async fn clips_in_every_form_are_answered_truly_whole_and_streamed() -> anyhow::Result<()> {
    let (server, asked) = (Server::start().await?, Asked::new()?);
    let id = server.upload(&clips::simple(1)?.file).await?;
    let mut library = asked.question("input_video", "video_url");
    library["input"][0]["content"][0]["video_url"] = format!("homereel:{id}").into();
    for body in [
        asked.question("input_video", "video_url"),
        asked.question("input_file", "file_data"),
        asked.question("input_image", "image_url"),
        library,
    ] {
        let response = told(&server, &body).await?;
        assert_eq!((text(&response), &response["status"]), (asked.colour.as_str(), &json!("completed")));
        assert_eq!(response["homereel"]["media"].as_array().map(Vec::len), Some(1), "{response}");
    }
    let events = streamed(&server, &asked.question("input_video", "video_url")).await?;
    let deltas = events.iter().filter(|event| event["type"] == "response.output_text.delta");
    let whole: String = deltas.filter_map(|event| event["delta"].as_str()).collect();
    assert_eq!(whole, asked.colour);
    for (number, event) in events.iter().enumerate() {
        assert_eq!(event["sequence_number"], number, "{event}");
    }
    let last = &events.last().context("an event")?["response"];
    assert_eq!((text(last), &last["status"]), (asked.colour.as_str(), &json!("completed")));

    // A clip that cannot be decoded has a status, also of a stream.
    let broken = json!({ "type": "input_video", "video_url": "data:video/mp4;base64,AAAAGGZ0eXBtcDQyAAAAAG1wNDJpc29t" });
    let body = json!({ "input": [{ "role": "user", "content": [broken] }], "stream": true });
    let response = server.respond(&body).await?;
    assert_eq!(response.status().as_u16(), 400);
    let error: Value = response.json().await?;
    assert_eq!(error["error"]["param"], "input[0].content[0].video_url", "{error}");
    Ok(())
}

#[tokio::test]
async fn a_conversation_about_a_clip_goes_on_after_the_server_was_killed() -> anyhow::Result<()> {
    let (mut server, asked) = (Server::start().await?, Asked::new()?);
    let mut question = asked.question("input_video", "video_url");
    question["mm_processor_kwargs"] = json!({ "num_frames": 4 });
    question["instructions"] = "Answer in one word.".into();
    let first = told(&server, &question).await?;
    let follow_up = json!({ "previous_response_id": first["id"], "input": QUESTION, "temperature": 0 });
    let second = told(&server, &follow_up).await?;
    // As soon as its end was sent.
    let events = streamed(&server, &follow_up).await?;
    let third = events.last().context("an event")?["response"].clone();
    server.kill_and_restart().await?;
    assert_eq!(server.json(&format!("/v1/responses/{}", id(&third))).await?, third);
    let again = told(&server, &follow_up).await?;
    assert_eq!(text(&again), text(&second));
    assert_eq!(again["usage"]["input_tokens"], second["usage"]["input_tokens"], "the same frames and texts");
    assert_eq!(again["homereel"]["media"][0]["frames"], 4, "{again}");
    let continued = json!({ "previous_response_id": third["id"], "input": QUESTION, "temperature": 0 });

    let items = server.json(&format!("/v1/responses/{}/input_items?order=asc&limit=2", id(&again))).await?;
    assert_eq!((&items["data"][0]["role"], &items["data"][1]["role"]), (&json!("user"), &json!("assistant")));
    assert_eq!(items["has_more"], true);
    let media = server.data().join("responses");
    assert_eq!(std::fs::read_dir(&media)?.count(), 1, "one file for all of them");
    let storage = server.json("/api/storage").await?;
    assert_eq!(storage["responses_bytes"].as_u64(), Some(clips::simple(1)?.file.metadata()?.len()));
    let last = told(&server, &continued).await?;
    for response in [&first, &second, &third, &again] {
        delete(&server, response).await?;
    }
    // The last one has all of the conversation.
    let more = json!({ "previous_response_id": last["id"], "input": QUESTION, "store": false });
    assert_eq!(told(&server, &more).await?["homereel"]["media"][0]["frames"], 4);
    assert_eq!(std::fs::read_dir(&media)?.count(), 1);
    delete(&server, &last).await?;
    assert_eq!(std::fs::read_dir(&media)?.count(), 0);
    assert_eq!(server.json("/api/storage").await?["responses_bytes"], 0);
    let gone = server.respond(&follow_up).await?;
    assert_eq!(gone.status().as_u16(), 400);
    assert_eq!(gone.json::<Value>().await?["error"]["param"], "previous_response_id");
    Ok(())
}

async fn delete(server: &Server, response: &Value) -> anyhow::Result<()> {
    let url = server.url(&format!("/v1/responses/{}", id(response)));
    let told: Value = server.client().delete(url).send().await?.error_for_status()?.json().await?;
    ensure!(told["deleted"] == true, "{told}");
    Ok(())
}

fn id(response: &Value) -> &str {
    response["id"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn a_tool_is_called_and_its_result_answered() -> anyhow::Result<()> {
    let (server, asked) = (Server::start().await?, Asked::new()?);
    let parameters = json!({
        "type": "object", "properties": { "shape": { "enum": ["star", "square"] } }, "required": ["shape"],
        "additionalProperties": false,
    });
    let mut body = asked.question("input_video", "video_url");
    body["tools"] =
        json!([{ "type": "function", "name": "report", "parameters": parameters, "strict": true }]);
    body["tool_choice"] = "required".into();
    let first = told(&server, &body).await?;
    let call = &first["output"][0];
    assert_eq!((&call["type"], &call["name"]), (&json!("function_call"), &json!("report")), "{first}");
    let arguments: Value = serde_json::from_str(call["arguments"].as_str().context("arguments")?)?;
    assert!(arguments["shape"] == "star" || arguments["shape"] == "square", "{arguments}");
    let result = json!({ "type": "function_call_output", "call_id": call["call_id"], "output": "noted" });
    let second = json!({ "previous_response_id": first["id"], "input": [result], "tools": body["tools"] });
    assert!(!text(&told(&server, &second).await?).is_empty());

    let events = streamed(&server, &body).await?;
    let done = events.iter().find(|event| event["type"] == "response.function_call_arguments.done");
    let done = done.context("the end of a call")?;
    // There may be several calls.
    let deltas = events.iter().filter(|event| {
        event["type"] == "response.function_call_arguments.delta" && event["item_id"] == done["item_id"]
    });
    let streamed: String = deltas.filter_map(|event| event["delta"].as_str()).collect();
    assert_eq!(done["arguments"], streamed.as_str());

    let mut structured = asked.question("input_video", "video_url");
    structured["text"] = json!({ "format": { "type": "json_schema", "name": "sighting", "schema": parameters, "strict": true } });
    let object: Value = serde_json::from_str(text(&told(&server, &structured).await?))?;
    assert!(object["shape"].is_string(), "{object}");
    Ok(())
}

#[tokio::test]
async fn callers_do_not_see_each_other_s_responses() -> anyhow::Result<()> {
    let mut password = tempfile::NamedTempFile::new()?;
    std::io::Write::write_all(&mut password, b"correct horse battery")?;
    let server =
        Server::start_with(&["--password-file", password.path().to_str().context("a path")?]).await?;
    let mut keys = Vec::new();
    for name in ["phone", "laptop"] {
        let data = server.data().to_str().context("a path")?.to_owned();
        let made = homereel(["keys", "add", name, "--role", "member", "--data", &data]).await?;
        keys.push(made.answer()?.to_owned());
    }
    let ask = async |key: &str, body: Value| {
        let request = server.client().post(server.url("/v1/responses")).bearer_auth(key).json(&body);
        let response = request.send().await?;
        anyhow::Ok((response.status().as_u16(), response.json::<Value>().await?))
    };
    let (status, first) = ask(&keys[0], json!({ "input": "hi" })).await?;
    assert_eq!(status, 200, "{first}");
    let follow_up = json!({ "input": "hi", "previous_response_id": first["id"] });
    let url = server.url(&format!("/v1/responses/{}", id(&first)));
    for (key, shown, continued) in [(&keys[1], 404, 400), (&keys[0], 200, 200)] {
        assert_eq!(server.client().get(&url).bearer_auth(key).send().await?.status().as_u16(), shown);
        assert_eq!(ask(key, follow_up.clone()).await?.0, continued);
    }
    Ok(())
}

/// Returns a picture as a `data:` URL.
fn picture() -> anyhow::Result<String> {
    let file = clips::ffmpeg("red.png", &["-f", "lavfi", "-i", "color=red:size=64x64", "-frames:v", "1"])?;
    Ok(format!("data:image/png;base64,{}", STANDARD.encode(std::fs::read(file)?)))
}

#[tokio::test]
async fn pictures_and_frames_are_shown_again_also_those_of_tools() -> anyhow::Result<()> {
    let (server, picture) = (Server::start().await?, picture()?);
    let list = format!("data:video/jpeg;base64,{0},{0}", picture.split_once(',').context("data")?.1);
    let look = json!({ "type": "function_call", "call_id": "1", "name": "look", "arguments": "{}" });
    let output = json!([{ "type": "input_image", "image_url": picture, "detail": "high" }]);
    let input = json!([
        { "role": "user", "content": [
            { "type": "input_image", "image_url": { "url": picture } },
            { "type": "input_video", "video": [picture, picture], "fps": 1 },
            { "type": "input_video", "video_url": list },
        ] },
        look,
        { "type": "function_call_output", "call_id": "1", "output": output },
    ]);
    let first = told(&server, &json!({ "input": input, "temperature": 0 })).await?;
    assert_eq!(
        first["homereel"]["warnings"],
        json!(["detail high has no effect: the model's own rule sets the size"])
    );
    let listed = server.json(&format!("/v1/responses/{}/input_items?order=asc", id(&first))).await?;
    let parts = &listed["data"][0]["content"];
    let reference = parts[0]["image_url"].as_str().context("a URL")?;
    assert!(reference.starts_with("sha256:") && reference.len() == 71, "{listed}");
    assert_eq!(parts[1]["video"], json!([reference, reference]), "{listed}");
    assert_eq!(listed["data"][2]["output"][0]["image_url"], reference, "{listed}");
    assert_eq!(std::fs::read_dir(server.data().join("responses"))?.count(), 1);
    // The whole conversation in one request has as many tokens as the follow-up.
    let follow_up = json!({ "previous_response_id": first["id"], "input": "x", "temperature": 0 });
    let continued = told(&server, &follow_up).await?;
    let mut whole = input.as_array().context("items")?.clone();
    whole.push(first["output"][0].clone());
    whole.push(json!({ "role": "user", "content": "x" }));
    let whole = told(&server, &json!({ "input": whole, "temperature": 0 })).await?;
    assert_eq!(continued["usage"]["input_tokens"], whole["usage"]["input_tokens"]);
    assert_eq!(text(&continued), text(&whole));
    // A reference to the bytes is of use in its conversation only.
    let part = json!({ "type": "input_image", "image_url": reference });
    let alone = json!({ "input": [{ "role": "user", "content": [part] }] });
    assert_eq!(server.respond(&alone).await?.status().as_u16(), 400);
    let mut inside = alone;
    inside["previous_response_id"] = first["id"].clone();
    told(&server, &inside).await?;
    Ok(())
}

#[tokio::test]
async fn a_response_that_does_not_fit_the_quota_is_answered_but_not_kept() -> anyhow::Result<()> {
    let (server, asked) = (Server::start_with(&["--quota", "1000"]).await?, Asked::new()?);
    let response = told(&server, &asked.question("input_video", "video_url")).await?;
    assert_eq!((text(&response), &response["store"]), (asked.colour.as_str(), &json!(false)));
    let warnings = response["homereel"]["warnings"].to_string();
    ensure!(warnings.contains("is not kept: there is no space"), "{warnings}");
    assert_eq!(server.get(&format!("/v1/responses/{}", id(&response))).await?.status().as_u16(), 404);
    assert_eq!(std::fs::read_dir(server.data().join("responses"))?.count(), 0);
    Ok(())
}
