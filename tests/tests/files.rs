//! `/v1/files`: clips and pictures are uploaded once, also resumably, named by id in requests, seen by their owner only, and
//! gone when they are deleted or expire.

use anyhow::{Context as _, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use homereel_clips::Skill;
use homereel_tests::{Server, clips, homereel};
use reqwest::{Method, RequestBuilder, Response, multipart};
use serde_json::{Value, json};
use sqlx::{ConnectOptions as _, Executor as _, sqlite::SqliteConnectOptions};

const QUESTION: &str = "What color is the object?";

/// A clip of one object, and its colour.
fn clip(seed: u64) -> anyhow::Result<(Vec<u8>, String)> {
    let clip = clips::simple(seed)?;
    let truth = clip.questions.iter().find(|q| q.skill == Skill::Colour).context("a colour")?;
    Ok((std::fs::read(&clip.file)?, truth.answer.clone()))
}

fn picture() -> anyhow::Result<Vec<u8>> {
    let mut png = std::io::Cursor::new(Vec::new());
    image::RgbImage::from_pixel(64, 64, image::Rgb([200, 0, 0]))
        .write_to(&mut png, image::ImageFormat::Png)?;
    Ok(png.into_inner())
}

fn form(bytes: Vec<u8>, name: &str, fields: &[(&'static str, &str)]) -> multipart::Form {
    let file = multipart::Part::bytes(bytes).file_name(name.to_owned());
    let form = multipart::Form::new().part("file", file);
    fields.iter().fold(form, |form, (name, value)| form.text(*name, (*value).to_owned()))
}

async fn send(server: &Server, form: multipart::Form) -> anyhow::Result<Response> {
    Ok(server.client().post(server.url("/v1/files")).multipart(form).send().await?)
}

/// Uploads a file and returns its object.
async fn upload(server: &Server, bytes: Vec<u8>, name: &str) -> anyhow::Result<Value> {
    told(send(server, form(bytes, name, &[("purpose", "user_data")])).await?).await
}

async fn told(response: Response) -> anyhow::Result<Value> {
    let status = response.status();
    let body: Value = response.json().await?;
    ensure!(status.is_success(), "{status}: {body}");
    Ok(body)
}

/// Returns the status and OpenAI's error object.
async fn refused(response: Response) -> anyhow::Result<(u16, Value)> {
    let status = response.status().as_u16();
    let body: Value = response.json().await?;
    ensure!(body["error"]["message"].is_string() && body["error"]["type"].is_string(), "{status}: {body}");
    Ok((status, body["error"].clone()))
}

fn id(file: &Value) -> anyhow::Result<&str> {
    file["id"].as_str().with_context(|| format!("no id in {file}"))
}

fn question(part: &Value) -> Value {
    let content = json!([part, { "type": "text", "text": QUESTION }]);
    json!({ "temperature": 0, "messages": [{ "role": "user", "content": content }] })
}

async fn ask(server: &Server, part: &Value) -> anyhow::Result<Value> {
    told(server.chat(&question(part)).await?).await
}

fn count(server: &Server, folder: &str) -> anyhow::Result<usize> {
    Ok(std::fs::read_dir(server.data().join(folder))?.count())
}

#[tokio::test]
async fn a_clip_is_uploaded_once_and_named_by_its_id() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let (bytes, answer) = clip(1)?;
    let file = upload(&server, bytes.clone(), "dir/Öma.mp4").await?;
    let id = id(&file)?.to_owned();
    ensure!(id.starts_with("file-") && file["object"] == "file" && file["status"] == "processed", "{file}");
    ensure!(file["filename"] == "Öma.mp4" && file["purpose"] == "user_data", "{file}");
    ensure!(file["bytes"] == bytes.len(), "{file}");
    let seconds = |name: &str| file[name].as_i64().with_context(|| format!("{name} of {file}"));
    assert_eq!(seconds("expires_at")? - seconds("created_at")?, 24 * 3600);
    assert_eq!(server.json(&format!("/v1/files/{id}")).await?, file);

    // In every form in which a part names media.
    for part in [
        json!({ "type": "file", "file": { "file_id": id } }),
        json!({ "type": "input_file", "file_id": id }),
        json!({ "type": "input_video", "file_id": id }),
        json!({ "type": "input_image", "file_id": id }),
        json!({ "type": "image_url", "image_url": { "file_id": id } }),
        json!({ "type": "video_url", "video_url": { "file_id": id } }),
        json!({ "type": "video_url", "video_url": { "url": id } }),
        json!({ "type": "video_url", "video_url": format!("homereel:{id}") }),
        json!({ "file_id": id }),
    ] {
        let told = ask(&server, &part).await?;
        assert_eq!(told["choices"][0]["message"]["content"], answer, "{part}: {told}");
        // The frames of the first question are in the cache.
        let cached = told["homereel"]["stages_ms"]["decode"] == 0.0;
        assert_eq!(cached, part["type"] != "file", "{part}: {told}");
    }
    let still = upload(&server, picture()?, "red.png").await?;
    let told = ask(&server, &json!({ "type": "input_image", "file_id": still["id"] })).await?;
    ensure!(told["choices"][0]["message"]["content"].is_string(), "{told}");

    // A file is no video of the library.
    assert_eq!(server.json("/api/videos").await?["total"], 0);
    assert_eq!(server.json("/api/jobs").await?["jobs"], json!([]));
    assert_eq!(count(&server, "originals")?, 0);
    let stored = bytes.len() as u64 + still["bytes"].as_u64().context("bytes")?;
    assert_eq!(server.json("/api/storage").await?["files_bytes"], stored);

    let content = server.get(&format!("/v1/files/{id}/content")).await?;
    assert_eq!(content.headers()["content-type"], "application/octet-stream");
    ensure!(content.headers()["content-disposition"].to_str()?.starts_with("attachment; "));
    assert_eq!(content.bytes().await?, bytes);
    let range = server.client().get(server.url(&format!("/v1/files/{id}/content")));
    let range = range.header("range", "bytes=4-7").send().await?;
    assert_eq!((range.status().as_u16(), &range.bytes().await?[..]), (206, &b"ftyp"[..]));
    Ok(())
}

#[tokio::test]
async fn files_are_listed_in_pages_and_deleted() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let empty = server.json("/v1/files").await?;
    let nothing =
        json!({ "object": "list", "data": [], "first_id": null, "last_id": null, "has_more": false });
    assert_eq!(empty, nothing);
    let bytes = picture()?;
    let mut ids = Vec::new();
    for purpose in ["vision", "user_data", "vision"] {
        // Fields may come before the file, and other ones have no meaning.
        let file = multipart::Part::bytes(bytes.clone()).file_name("a.png");
        let form = multipart::Form::new().text("purpose", purpose).text("other", "x").part("file", file);
        ids.push(id(&told(send(&server, form).await?).await?)?.to_owned());
    }
    let list = async |query: &str| -> anyhow::Result<(Vec<usize>, Value)> {
        let list = server.json(&format!("/v1/files{query}")).await?;
        let data = list["data"].as_array().context("data")?;
        let at = |file: &Value| ids.iter().position(|id| file["id"] == id.as_str()).unwrap_or(usize::MAX);
        Ok((data.iter().map(at).collect(), list.clone()))
    };
    assert_eq!(list("").await?.0, [2, 1, 0], "the newest first");
    assert_eq!(list("?order=asc").await?.0, [0, 1, 2]);
    assert_eq!(list("?purpose=vision").await?.0, [2, 0]);
    assert_eq!(list(&format!("?order=asc&after={}", ids[1])).await?.0, [2]);
    let (first, page) = list("?limit=2").await?;
    assert_eq!((first, &page["has_more"], &page["last_id"]), (vec![2, 1], &json!(true), &json!(ids[1])));
    let (second, page) = list(&format!("?limit=2&after={}", ids[1])).await?;
    assert_eq!((second, &page["has_more"]), (vec![0], &json!(false)));
    for (query, param) in
        [("limit=0", "limit"), ("limit=10001", "limit"), ("order=up", "order"), ("after=x", "after")]
    {
        let (status, error) = refused(server.get(&format!("/v1/files?{query}")).await?).await?;
        assert_eq!((status, &error["param"]), (400, &json!(param)), "{error}");
    }
    assert_eq!(refused(server.get("/v1/files?limit=1&limit=2").await?).await?.0, 400);

    // All have the same content, which goes with the last.
    for (at, left) in [(0, 1), (1, 1), (2, 0)] {
        let url = server.url(&format!("/v1/files/{}", ids[at]));
        let deleted = told(server.client().delete(&url).send().await?).await?;
        assert_eq!(deleted, json!({ "id": ids[at], "object": "file", "deleted": true }));
        assert_eq!(count(&server, "files")?, left);
        let (status, error) = refused(server.client().delete(&url).send().await?).await?;
        assert_eq!((status, &error["param"]), (404, &json!("id")), "{error}");
    }
    for path in ["", "/content"] {
        assert_eq!(refused(server.get(&format!("/v1/files/{}{path}", ids[0])).await?).await?.0, 404);
    }
    Ok(())
}

#[tokio::test]
async fn what_does_not_fit_is_refused_and_leaves_nothing() -> anyhow::Result<()> {
    let limits = ["--files-max-bytes", "100000", "--max-upload-bytes", "90000", "--files-keep", "7200"];
    let server = Server::start_with(&limits).await?;
    let purpose = ("purpose", "vision");
    let png = picture()?;
    for (bytes, fields, status, param, word) in [
        (b"some text".to_vec(), vec![purpose], 400, json!("file"), "text"),
        (b"%PDF-1.7 ...".to_vec(), vec![purpose], 400, json!("file"), "PDF"),
        (b"\x89PNG\r\n\x1a\n not really".to_vec(), vec![purpose], 400, json!("file"), "picture"),
        (vec![0; 5000], vec![purpose], 400, json!("file"), ""),
        (Vec::new(), vec![purpose], 400, json!(null), "empty"),
        (png.clone(), vec![], 400, json!("purpose"), "purpose is missing"),
        (png.clone(), vec![("purpose", "fun")], 400, json!("purpose"), "user_data"),
        (
            png.clone(),
            vec![purpose, ("expires_after[anchor]", "created_at"), ("expires_after[seconds]", "7201")],
            400,
            json!("expires_after[seconds]"),
            "3600 to 7200",
        ),
        (vec![0; 90_001], vec![purpose], 413, json!(null), "90000"),
        (vec![0; 100_001], vec![purpose], 507, json!(null), "--files-max-bytes"),
    ] {
        let (given, error) = refused(send(&server, form(bytes, "a", &fields)).await?).await?;
        assert_eq!((given, &error["param"]), (status, &param), "{error}");
        ensure!(error["message"].as_str().is_some_and(|message| message.contains(word)), "{error}");
    }
    let none = multipart::Form::new().text("purpose", "vision");
    assert_eq!(refused(send(&server, none).await?).await?.1["param"], "file");
    let json = server.client().post(server.url("/v1/files")).json(&json!({})).send().await?;
    assert_eq!(refused(json).await?.0, 400);
    assert_eq!((count(&server, "files")?, count(&server, "incoming")?), (0, 0));

    let fields = [purpose, ("expires_after[anchor]", "created_at"), ("expires_after[seconds]", "3600")];
    let file = told(send(&server, form(png, "a.png", &fields)).await?).await?;
    let seconds = |name: &str| file[name].as_i64().context("seconds");
    assert_eq!(seconds("expires_at")? - seconds("created_at")?, 3600);

    // Unknown ids are named with the part.
    for (part, place) in [
        (json!({ "type": "file", "file": { "file_id": "file-nope" } }), "messages[0].content[0].file"),
        (json!({ "type": "input_image", "file_id": "file-nope" }), "messages[0].content[0].file_id"),
        (json!({ "type": "video_url", "video_url": "file-nope" }), "messages[0].content[0].video_url"),
    ] {
        let (status, error) = refused(server.chat(&question(&part)).await?).await?;
        assert_eq!((status, &error["param"]), (404, &json!(place)), "{error}");
        ensure!(error["message"] == "no file has the id file-nope", "{error}");
    }
    let wrong = json!({ "type": "input_image", "file_id": "other" });
    assert_eq!(refused(server.chat(&question(&wrong)).await?).await?.0, 400);
    // A picture is no video, and is found out by its decoder.
    let part = json!({ "type": "video_url", "video_url": { "file_id": file["id"] } });
    let (status, error) = refused(server.chat(&question(&part)).await?).await?;
    assert_eq!((status, &error["param"]), (400, &json!("messages[0].content[0].video_url")), "{error}");
    let many = vec![json!({ "type": "input_image", "file_id": file["id"] }); 41];
    let many = json!({ "messages": [{ "role": "user", "content": many }] });
    let (status, error) = refused(server.chat(&many).await?).await?;
    assert_eq!((status, &error["param"]), (400, &json!("messages")), "{error}");
    Ok(())
}

#[tokio::test]
async fn files_are_their_owner_s() -> anyhow::Result<()> {
    let password = tempfile::NamedTempFile::new()?;
    std::fs::write(password.path(), "correct horse battery\n")?;
    let server =
        Server::start_with(&["--password-file", password.path().to_str().context("a path")?]).await?;
    let data = server.data().to_str().context("a path")?;
    let key = async |name: &str, role: &str| -> anyhow::Result<String> {
        Ok(homereel(["keys", "add", name, "--role", role, "--data", data]).await?.answer()?.to_owned())
    };
    let (own, other) = (key("own", "member").await?, key("other", "admin").await?);
    let viewer = key("viewer", "viewer").await?;
    let call = |method: Method, path: &str, key: &str| {
        server.client().request(method, server.url(path)).bearer_auth(key)
    };
    let posted = form(picture()?, "a.png", &[("purpose", "vision")]);
    let file = told(call(Method::POST, "/v1/files", &own).multipart(posted).send().await?).await?;
    let url = format!("/v1/files/{}", id(&file)?);
    let posted = form(picture()?, "a.png", &[("purpose", "vision")]);
    assert_eq!(call(Method::POST, "/v1/files", &viewer).multipart(posted).send().await?.status(), 403);

    // A resumable upload is its owner's as well, from the start.
    let metadata = format!("filename {},purpose {}", STANDARD.encode("b.png"), STANDARD.encode("vision"));
    let tus =
        |method: Method, path: &str, key: &str| call(method, path, key).header("tus-resumable", "1.0.0");
    let created = tus(Method::POST, "/v1/files/uploads", &own).header("upload-length", "9");
    let created = created.header("upload-metadata", metadata).send().await?;
    let resumable = created.headers()["location"].to_str()?.to_owned();
    let library = resumable.replace("/v1/files/", "/api/");

    for stranger in [&other, &viewer] {
        let list = told(call(Method::GET, "/v1/files", stranger).send().await?).await?;
        assert_eq!(list["data"], json!([]));
        assert_eq!(call(Method::GET, &url, stranger).send().await?.status(), 404);
        assert_eq!(call(Method::GET, &format!("{url}/content"), stranger).send().await?.status(), 404);
        assert_eq!(tus(Method::HEAD, &resumable, stranger).send().await?.status(), 404);
        assert_eq!(tus(Method::HEAD, &library, stranger).send().await?.status(), 404);
    }
    assert_eq!(call(Method::DELETE, &url, &other).send().await?.status(), 404);
    assert_eq!(tus(Method::DELETE, &resumable, &other).send().await?.status(), 404);
    assert_eq!(
        tus(Method::DELETE, &library, &own).send().await?.status(),
        404,
        "it is no upload to the library"
    );
    let uploads = told(call(Method::GET, "/api/uploads", &own).send().await?).await?;
    assert_eq!(uploads["uploads"], json!([]));
    let body = question(&json!({ "type": "input_image", "file_id": file["id"] }));
    let ask = async |key: &str| call(Method::POST, "/v1/chat/completions", key).json(&body).send().await;
    assert_eq!(refused(ask(&other).await?).await?.0, 404);
    told(ask(&own).await?).await?;
    assert_eq!(tus(Method::HEAD, &resumable, &own).send().await?.status(), 200);
    told(call(Method::DELETE, &url, &own).send().await?).await?;
    Ok(())
}

#[tokio::test]
async fn an_upload_goes_on_after_a_power_cut_and_its_file_survives_another() -> anyhow::Result<()> {
    let mut server = Server::start().await?;
    let (bytes, answer) = clip(1)?;
    let whole = upload(&server, bytes.clone(), "a.mp4").await?;
    let tus = |server: &Server, method: Method, path: &str| -> RequestBuilder {
        server.client().request(method, server.url(path)).header("tus-resumable", "1.0.0")
    };
    let piece = |server: &Server, url: &str, offset: usize, bytes: &[u8]| {
        let patch = tus(server, Method::PATCH, url).header("upload-offset", offset);
        patch.header("content-type", "application/offset+octet-stream").body(bytes.to_vec())
    };
    let create = async |metadata: String, length: usize| -> anyhow::Result<Response> {
        let post = tus(&server, Method::POST, "/v1/files/uploads").header("upload-length", length);
        Ok(post.header("upload-metadata", metadata).send().await?)
    };
    let named = |name: &str| format!("filename {},purpose dmlzaW9u", STANDARD.encode(name));
    let (status, error) = refused(create("filename YQ==".into(), 9).await?).await?;
    assert_eq!((status, &error["param"]), (400, &json!("Upload-Metadata")), "{error}");
    let created = create(named("b.mp4"), bytes.len()).await?;
    assert_eq!(created.status(), 201);
    let url = created.headers()["location"].to_str()?.to_owned();
    let text = create(named("c.txt"), 4).await?.headers()["location"].to_str()?.to_owned();
    let half = bytes.len() / 2;
    assert_eq!(piece(&server, &url, 0, &bytes[..half]).send().await?.status(), 204);
    server.kill_and_restart().await?;
    assert_eq!(server.json(&format!("/v1/files/{}", id(&whole)?)).await?, whole);
    let head = tus(&server, Method::HEAD, &url).send().await?;
    ensure!(
        head.headers()["upload-offset"] == half.to_string() && !head.headers().contains_key("homereel-file")
    );
    let last = piece(&server, &url, half, &bytes[half..]).send().await?;
    assert_eq!(last.status(), 204, "{}", last.text().await?);
    let id = last.headers()["homereel-file"].to_str()?.to_owned();
    // A client that lost the response finds the id again.
    assert_eq!(tus(&server, Method::HEAD, &url).send().await?.headers()["homereel-file"], id.as_str());
    // What is neither a picture nor a video is refused at the end, with the reason.
    let (status, error) = refused(piece(&server, &text, 0, b"text").send().await?).await?;
    ensure!(
        status == 422 && error["message"].as_str().is_some_and(|m| m.contains("text")),
        "{status} {error}"
    );

    server.kill_and_restart().await?;
    let file = server.json(&format!("/v1/files/{id}")).await?;
    assert_eq!((&file["filename"], &file["purpose"]), (&json!("b.mp4"), &json!("vision")));
    let told = ask(&server, &json!({ "type": "file", "file": { "file_id": id } })).await?;
    assert_eq!(told["choices"][0]["message"]["content"], answer, "{told}");
    assert_eq!((count(&server, "files")?, count(&server, "uploads")?), (1, 0), "both share one content");
    Ok(())
}

#[tokio::test]
async fn an_expired_file_is_gone() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let file = upload(&server, picture()?, "a.png").await?;
    let url = format!("/v1/files/{}", id(&file)?);
    assert_eq!(server.get(&url).await?.status(), 200);
    let database = SqliteConnectOptions::new().filename(server.data().join("homereel.db"));
    database.connect().await?.execute("UPDATE files SET expires_ms = 1").await?;
    assert_eq!(refused(server.get(&url).await?).await?.0, 404);
    assert_eq!(server.json("/v1/files").await?["data"], json!([]));
    let body = question(&json!({ "type": "input_image", "file_id": file["id"] }));
    assert_eq!(refused(server.chat(&body).await?).await?.0, 404);
    Ok(())
}
