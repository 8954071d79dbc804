//! The forms in which clients send media and parameters: each means the same as the plain one.

use std::io::{Read as _, Write as _};

use anyhow::{Context as _, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use homereel_clips::Skill;
use homereel_tests::{Server, clips};
use serde_json::{Value, json};

const QUESTION: &str = "What color is the object?";

/// Asks the question with `part`; returns the whole response.
async fn ask(server: &Server, part: &Value, more: Value) -> anyhow::Result<Value> {
    let mut body = json!({
        "temperature": 0,
        "messages": [{ "role": "user", "content": [part, { "type": "text", "text": QUESTION }] }],
    });
    body.as_object_mut().context("an object")?.extend(more.as_object().context("an object")?.clone());
    let response = server.chat(&body).await?;
    let status = response.status();
    let told: Value = response.json().await?;
    ensure!(status.is_success(), "{status}: {told}");
    Ok(told)
}

/// A clip of one object, as base64, and its colour.
fn clip() -> anyhow::Result<(String, String)> {
    let clip = clips::simple(1)?;
    let truth = clip.questions.iter().find(|q| q.skill == Skill::Colour).context("a colour")?;
    Ok((STANDARD.encode(std::fs::read(&clip.file)?), truth.answer.clone()))
}

#[tokio::test]
async fn a_clip_is_read_in_every_form() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let (data, answer) = clip()?;
    let url = format!("data:video/mp4;base64,{data}");
    let lines = data.as_bytes().chunks(76).map(String::from_utf8_lossy).collect::<Vec<_>>().join("\r\n");
    for part in [
        json!({ "type": "video_url", "video_url": { "url": url } }),
        json!({ "type": "video_url", "video_url": url }),
        json!({ "video_url": { "url": url } }),
        json!({ "type": "image_url", "image_url": { "url": url } }),
        json!({ "type": "input_video", "input_video": { "data": data, "format": "mp4" } }),
        json!({ "type": "video", "base64": data, "mime_type": "video/mp4" }),
        json!({ "type": "file", "file": { "file_data": url, "filename": "clip.mp4" } }),
        json!({ "type": "input_file", "file_data": url }),
        json!({ "type": "video_url", "video_url": { "url": format!("data:video/webm;codecs=vp9,opus;BASE64,{data}") } }),
        json!({ "type": "video_url", "video_url": { "url": format!(" data:text/plain;base64,\n{lines}\n") } }),
        json!({ "type": "video_url", "video_url": { "url": format!("data:;base64,{}", data.trim_end_matches('=')) } }),
        json!({ "type": "video_url", "video_url": { "url": format!("data:;base64,{}", data.replace('+', "-").replace('/', "_")) } }),
    ] {
        let told = ask(&server, &part, json!({})).await?;
        let shown = part.to_string().chars().take(80).collect::<String>();
        assert_eq!(told["choices"][0]["message"]["content"], answer, "{shown}: {told}");
        assert_eq!(told["homereel"]["warnings"], json!([]), "{shown}");
    }
    Ok(())
}

#[tokio::test]
async fn a_list_of_frames_is_a_video() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let (_, answer) = clip()?;
    let directory = tempfile::tempdir()?;
    let file = clips::simple(1)?.file;
    let ffmpeg = tokio::process::Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(file)
        .args(["-r", "2", "-q:v", "1"])
        .arg(directory.path().join("%03d.jpg"))
        .status()
        .await?;
    ensure!(ffmpeg.success(), "ffmpeg failed");
    let mut names: Vec<_> = std::fs::read_dir(directory.path())?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_, std::io::Error>>()?;
    names.sort();
    let frames: Vec<String> = names
        .iter()
        .map(|name| Ok(STANDARD.encode(std::fs::read(name)?)))
        .collect::<Result<_, std::io::Error>>()?;
    let urls: Vec<String> = frames.iter().map(|frame| format!("data:image/jpeg;base64,{frame}")).collect();
    for part in [
        json!({ "type": "video", "video": urls, "fps": 2 }),
        json!({ "type": "video_url", "video_url": { "url": format!("data:video/jpeg;base64,{}", frames.join(",")) } }),
    ] {
        let told = ask(&server, &part, json!({})).await?;
        assert_eq!(told["choices"][0]["message"]["content"], answer, "{told}");
        let media = &told["homereel"]["media"][0];
        assert_eq!(media["frames"], frames.len(), "{media}");
        assert_eq!((&media["timestamps"][1], &media["native_fps"]), (&json!(0.5), &json!(2.0)), "{media}");
    }
    // A frame that is none is named by its part.
    let bad = json!({ "type": "video", "video": [urls[0], "data:image/jpeg;base64,aGVsbG8gd29ybGQ="] });
    let body = json!({ "messages": [{ "role": "user", "content": [{ "type": "text", "text": "?" }, bad] }] });
    let told: Value = server.chat(&body).await?.json().await?;
    assert_eq!(told["error"]["param"], "messages[0].content[1].video", "{told}");
    Ok(())
}

#[tokio::test]
async fn a_broken_clip_is_named_by_its_place() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let (data, _) = clip()?;
    let broken = format!("data:video/mp4;base64,{}", &data[..data.len() / 64 * 4]);
    let text = json!({ "type": "text", "text": "?" });
    for (name, part) in [
        ("video_url", json!({ "type": "video_url", "video_url": { "url": broken } })),
        ("file", json!({ "type": "file", "file": { "file_data": broken } })),
    ] {
        for stream in [false, true] {
            let messages =
                json!([{ "role": "system", "content": "x" }, { "role": "user", "content": [text, part] }]);
            let response = server.chat(&json!({ "messages": messages, "stream": stream })).await?;
            assert_eq!(response.status(), 400);
            let told: Value = response.json().await?;
            assert_eq!(told["error"]["param"], format!("messages[1].content[1].{name}"), "{told}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn parameters_change_the_answer_as_they_should() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let (data, answer) = clip()?;
    let part =
        json!({ "type": "video_url", "video_url": { "url": format!("data:video/mp4;base64,{data}") } });
    let content =
        |told: &Value| told["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned();
    let word = answer.trim_end_matches('.');

    let several = ask(&server, &part, json!({ "n": 3 })).await?;
    let choices = several["choices"].as_array().context("choices")?;
    assert_eq!(choices.len(), 3);
    assert!(choices.iter().all(|choice| choice["message"]["content"] == answer), "{several}");

    let banned = ask(&server, &part, json!({ "bad_words": [word] })).await?;
    assert!(!content(&banned).contains(word), "{banned}");
    let stopped = ask(&server, &part, json!({ "stop": ".", "include_stop_str_in_output": true })).await?;
    assert_eq!(content(&stopped), answer);
    let longer = ask(&server, &part, json!({ "min_tokens": 9 })).await?;
    assert!(longer["usage"]["completion_tokens"].as_u64() >= Some(9), "{longer}");
    let chosen = ask(&server, &part, json!({ "structured_outputs": { "choice": ["yes", "no"] } })).await?;
    assert!(["yes", "no"].contains(&content(&chosen).as_str()), "{chosen}");
    let matched = ask(&server, &part, json!({ "guided_regex": "[0-9]{4}" })).await?;
    assert!(
        content(&matched).len() == 4 && content(&matched).bytes().all(|byte| byte.is_ascii_digit()),
        "{matched}"
    );
    let capped = ask(&server, &part, json!({ "max_tokens": 1.0, "user": "x" })).await?;
    assert_eq!(
        (&capped["usage"]["completion_tokens"], &capped["choices"][0]["finish_reason"]),
        (&json!(1), &json!("length"))
    );
    assert!(
        capped["homereel"]["warnings"][0].as_str().is_some_and(|warning| warning.starts_with("user ")),
        "{capped}"
    );
    let token = ask(&server, &part, json!({ "logprobs": true, "top_logprobs": 2 })).await?;
    let first = &token["choices"][0]["logprobs"]["content"][0];
    assert!(
        first["logprob"].as_f64().is_some_and(|logprob| logprob <= 0.0)
            && first["top_logprobs"][1].is_object(),
        "{token}"
    );

    // The answer goes on where the given one ends.
    let body = json!({
        "temperature": 0, "continue_final_message": true, "add_generation_prompt": false,
        "messages": [
            { "role": "user", "content": [part, { "type": "text", "text": QUESTION }] },
            { "role": "assistant", "content": word },
        ],
    });
    assert_eq!(server.answer(&body).await?, ".");
    Ok(())
}

#[tokio::test]
async fn tools_are_called_in_openai_s_form() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let (data, _) = clip()?;
    let part =
        json!({ "type": "video_url", "video_url": { "url": format!("data:video/mp4;base64,{data}") } });
    let tool = |name: &str| {
        json!({ "type": "function", "function": { "name": name, "parameters": {
            "type": "object", "additionalProperties": false, "required": ["second"],
            "properties": { "second": { "type": "integer", "minimum": 0, "maximum": 59 } },
        } } })
    };
    let tools = json!([tool("look"), tool("listen")]);
    for (choice, names) in [
        (json!("required"), vec!["look", "listen"]),
        (json!({ "type": "function", "function": { "name": "listen" } }), vec!["listen"]),
    ] {
        let more = json!({ "tools": tools, "tool_choice": choice, "parallel_tool_calls": false });
        let told = ask(&server, &part, more).await?;
        let message = &told["choices"][0]["message"];
        assert_eq!(
            (&message["content"], &told["choices"][0]["finish_reason"]),
            (&Value::Null, &json!("tool_calls")),
            "{told}"
        );
        let [call] = message["tool_calls"].as_array().context("calls")?.as_slice() else {
            anyhow::bail!("{told}")
        };
        assert!(names.contains(&call["function"]["name"].as_str().context("a name")?), "{told}");
        assert!(call["index"].is_null() && call["type"] == "function" && call["id"].is_string(), "{told}");
        let arguments: Value =
            serde_json::from_str(call["function"]["arguments"].as_str().context("arguments")?)?;
        assert!(arguments["second"].as_i64().is_some_and(|second| (0..60).contains(&second)), "{arguments}");
    }
    Ok(())
}

/// A client that sends its body although the response is an error sees the response, and can go on with the connection.
#[tokio::test(flavor = "multi_thread")]
async fn an_early_refusal_keeps_the_connection() -> anyhow::Result<()> {
    let server = Server::start_with(&["--max-body-bytes", "1000000"]).await?;
    let address = server.url("").trim_start_matches("http://").trim_end_matches('/').to_owned();
    tokio::task::spawn_blocking(move || {
        let mut connection = std::net::TcpStream::connect(&address)?;
        let body = vec![b'x'; 8 << 20];
        for (url, status) in [("/v1/nothing", "404"), ("/v1/chat/completions", "413"), ("/api/videos/x/file", "405")] {
            let head = format!("POST {url} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n", body.len());
            connection.write_all(head.as_bytes())?;
            connection.write_all(&body)?;
            let mut told = vec![0; 12];
            connection.read_exact(&mut told)?;
            let told = String::from_utf8(told)?;
            ensure!(told.ends_with(status), "{url}: {told}");
            read_rest(&mut connection)?;
        }
        Ok(())
    })
    .await?
}

/// Reads a response to its end.
fn read_rest(connection: &mut std::net::TcpStream) -> anyhow::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        connection.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head)?.to_lowercase();
    let length = head.split("content-length: ").nth(1).context("a length")?;
    let length: usize = length.split('\r').next().context("a length")?.parse()?;
    connection.read_exact(&mut vec![0; length])?;
    Ok(())
}
