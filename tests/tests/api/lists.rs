//! Lists, albums, changes of many videos, and downloads of several originals, as programs use them.

use anyhow::{Context as _, ensure};
use homereel_tests::{Server, clips};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// Uploads `count` different short clips; returns their ids.
async fn upload(server: &Server, count: u64) -> anyhow::Result<Vec<String>> {
    let mut ids = Vec::new();
    for seed in 0..count {
        ids.push(server.upload(&clips::simple(40 + seed)?.file).await?);
    }
    Ok(ids)
}

async fn send(
    server: &Server,
    method: Method,
    path: &str,
    body: &Value,
) -> anyhow::Result<(StatusCode, Value)> {
    let response = server.client().request(method, server.url(path)).json(body).send().await?;
    let status = response.status();
    Ok((status, response.json().await.unwrap_or(Value::Null)))
}

async fn batch(server: &Server, body: Value) -> anyhow::Result<Value> {
    let (status, told) = send(server, Method::POST, "/api/videos/batch", &body).await?;
    ensure!(status.is_success(), "{body}: {status} {told}");
    Ok(told)
}

async fn taken(server: &Server, id: &str, time: &str) -> anyhow::Result<()> {
    let (status, told) =
        send(server, Method::PATCH, &format!("/api/videos/{id}"), &json!({"taken": time})).await?;
    ensure!(status.is_success(), "{status}: {told}");
    Ok(())
}

fn ids(list: &Value) -> Vec<&str> {
    list["videos"].as_array().into_iter().flatten().filter_map(|video| video["id"].as_str()).collect()
}

#[tokio::test]
async fn pages_by_key_lose_and_double_nothing_also_before_1970() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let videos = upload(&server, 4).await?;
    let (late, rest) = videos.split_last().context("videos")?;
    for (id, time) in rest.iter().zip(["1931-05-01", "1963-08-28T12:00:00", "2019-07-14T09:00:00+02:00"]) {
        taken(&server, id, time).await?;
    }
    batch(&server, json!({"action": "trash", "ids": [late]})).await?;
    let first = server.json("/api/videos?limit=1").await?;
    assert_eq!((ids(&first), &first["total"]), (vec![rest[2].as_str()], &json!(3)), "{first}");
    assert_eq!(first["after"], Value::Null);
    // One that is added in between, and newer than the page that was read.
    batch(&server, json!({"action": "restore", "ids": [late]})).await?;
    let before =
        |list: &Value| format!("/api/videos?limit=1&before={}", list["before"].as_str().unwrap_or_default());
    let second = server.json(&before(&first)).await?;
    let third = server.json(&before(&second)).await?;
    assert_eq!((ids(&second), ids(&third)), (vec![rest[1].as_str()], vec![rest[0].as_str()]));
    assert_eq!(third["before"], Value::Null, "{third}");
    let after = format!("/api/videos?limit=9&after={}", third["after"].as_str().context("a key")?);
    assert_eq!(ids(&server.json(&after).await?).len(), 3);

    for (query, found) in [
        ("when=1931", vec![rest[0].as_str()]),
        ("when=1963-08", vec![rest[1].as_str()]),
        ("on=07-14", vec![rest[2].as_str()]),
        ("length=3600-", vec![]),
        ("favourite=1", vec![]),
    ] {
        let list = server.json(&format!("/api/videos?{query}")).await?;
        assert_eq!((ids(&list), &list["total"]), (found.clone(), &json!(found.len())), "{query}");
        let page = server.get(&format!("/?{query}")).await?;
        assert_eq!(page.status(), 200, "{query}");
    }
    // Only the number is asked for.
    for (query, total) in [("limit=0", 4), ("limit=0&when=1931", 1), ("limit=0&when=1931&length=0-60", 1)] {
        let list = server.json(&format!("/api/videos?{query}")).await?;
        assert_eq!((ids(&list).len(), &list["total"]), (0, &json!(total)), "{query}");
    }
    for bad in [
        "before=x",
        "when=19",
        "on=13-01",
        "length=1-2",
        "sort=size",
        "before=1_&after=1_",
        "offset=1&favourite=1",
    ] {
        assert_eq!(server.get(&format!("/api/videos?{bad}")).await?.status(), 400, "{bad}");
    }
    Ok(())
}

fn sorted(ids: &[String]) -> Vec<&str> {
    let mut ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    ids.sort_unstable();
    ids
}

#[tokio::test]
async fn an_album_holds_what_people_put_into_it() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let videos = upload(&server, 3).await?;
    let name = "Summer <2019> & Oma's \"80th\"";
    let (status, album) =
        send(&server, Method::POST, "/api/albums", &json!({"name": name, "videos": [videos[0]]})).await?;
    assert_eq!((status, &album["videos"]), (StatusCode::CREATED, &json!(1)), "{album}");
    let id = album["id"].as_str().context("an id")?;
    let (status, told) =
        send(&server, Method::POST, "/api/albums", &json!({"name": name.to_uppercase()})).await?;
    assert_eq!(status, StatusCode::CONFLICT, "{told}");
    for bad in ["", "a\nb", &"x".repeat(61)] {
        let (status, told) = send(&server, Method::POST, "/api/albums", &json!({"name": bad})).await?;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{bad:?}: {told}");
    }

    // 5,000 ids, all but three of which no video has.
    let mut many: Vec<String> = (0..4997).map(|number| format!("{number:032x}")).collect();
    many.extend(videos.clone());
    let told = batch(&server, json!({"action": "add_to_album", "album": id, "ids": many})).await?;
    assert_eq!(
        (&told["changed"], &told["unchanged"], &told["unknown"]),
        (&json!(2), &json!(1), &json!(4997))
    );
    // What undoes it leaves the video that was in the album before.
    let mut added: Vec<&str> =
        told["ids"].as_array().context("ids")?.iter().filter_map(Value::as_str).collect();
    added.sort_unstable();
    assert_eq!(added, sorted(&videos[1..]));
    many.push("one more".into());
    let (status, told) =
        send(&server, Method::POST, "/api/videos/batch", &json!({"action": "favourite", "ids": many}))
            .await?;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{told}");

    let path = format!("/api/albums/{id}");
    let (status, told) =
        send(&server, Method::PATCH, &path, &json!({"cover": videos[1], "by_hand": true})).await?;
    assert_eq!((status, &told["cover"], &told["by_hand"]), (StatusCode::OK, &json!(videos[1]), &json!(true)));
    let (status, _) = send(&server, Method::PATCH, &path, &json!({"name": "Other", "cover": "none"})).await?;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!(server.json(&path).await?["album"]["name"], name, "a refused change changes nothing");
    batch(&server, json!({"action": "trash", "ids": [videos[1]]})).await?;
    let shown = server.json(&path).await?;
    assert_eq!((ids(&shown).len(), &shown["album"]["videos"]), (2, &json!(2)), "{shown}");
    assert_ne!(shown["album"]["cover"], json!(videos[1]));
    batch(&server, json!({"action": "restore", "ids": [videos[1]]})).await?;
    assert_eq!(server.json(&path).await?["album"]["cover"], json!(videos[1]));

    // An album is found by its name, and does not become a tag.
    let found = server.json("/api/search?q=oma").await?;
    assert_eq!(found["total"], 3, "{found}");
    assert!(!server.json("/api/tags").await?.to_string().contains("Oma"));
    let page = server.get(&format!("/albums/{id}")).await?.text().await?;
    assert!(page.contains("Summer &#60;2019&#62;") && !page.contains("<2019>"), "{page}");
    let (status, _) = send(&server, Method::DELETE, &path, &Value::Null).await?;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(server.json("/api/videos").await?["total"], 3);
    assert_eq!(server.get(&path).await?.status(), 404);
    Ok(())
}

#[tokio::test]
async fn links_to_tags_of_earlier_releases_lead_to_the_tag() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let videos = upload(&server, 1).await?;
    let tags = json!({"tags": ["Lake & sea"]});
    send(&server, Method::PATCH, &format!("/api/videos/{}", videos[0]), &tags).await?;
    let page = server.get("/albums/lake%20%26%20sea").await?;
    assert_eq!((page.status(), page.url().path()), (StatusCode::OK, "/tags/Lake%20%26%20sea"));
    assert_eq!(server.get("/albums/nothing").await?.status(), 404);
    assert_eq!(server.get("/tags/nothing").await?.status(), 404);
    Ok(())
}

#[tokio::test]
async fn several_originals_come_as_one_file() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let videos = upload(&server, 3).await?;
    for id in &videos {
        let (status, _) = send(
            &server,
            Method::PATCH,
            &format!("/api/videos/{id}"),
            &json!({"name": "../Lake: 1.mp4", "taken": "2019-07-14"}),
        )
        .await?;
        assert_eq!(status, StatusCode::OK);
    }
    batch(&server, json!({"action": "trash", "ids": [videos[2]]})).await?;
    let form: Vec<(&str, &str)> =
        videos.iter().map(|id| ("id", id.as_str())).chain([("id", "none")]).collect();
    let response = server.client().post(server.url("/videos/download")).form(&form).send().await?;
    assert_eq!(response.headers()["content-type"], "application/zip");
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), response.error_for_status()?.bytes().await?)?;
    let script = "import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); assert z.testzip() is None; \
                  print([(i.filename, i.file_size, i.date_time[:3]) for i in z.infolist()])";
    let listed = std::process::Command::new("python3").args(["-c", script]).arg(file.path()).output()?;
    ensure!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let size = |seed| Ok::<_, anyhow::Error>(clips::simple(seed)?.file.metadata()?.len());
    let mut sizes = [size(40)?, size(41)?];
    let text = String::from_utf8(listed.stdout)?;
    let expected = |sizes: [u64; 2]| {
        format!(
            "[('2019-07-14 _Lake_ 1.mp4', {}, (2019, 7, 14)), ('2019-07-14 _Lake_ 1 (2).mp4', {}, (2019, 7, 14))]",
            sizes[0], sizes[1]
        )
    };
    let first = expected(sizes);
    sizes.reverse();
    assert!(text.trim() == first || text.trim() == expected(sizes), "{text} is not {first}");
    let nothing = server.client().post(server.url("/videos/download")).form(&[("id", "none")]).send().await?;
    assert_eq!(nothing.status(), 404);
    assert_eq!(server.get("/videos/download").await?.status(), 400);
    assert_eq!(server.get("/videos/download?album=none").await?.status(), 404);
    Ok(())
}

#[tokio::test]
async fn the_form_of_a_list_does_the_same_without_scripts() -> anyhow::Result<()> {
    let server = Server::start().await?;
    let videos = upload(&server, 2).await?;
    let post = async |fields: &[(&str, &str)]| {
        let response = server.client().post(server.url("/videos/batch")).form(fields).send().await?;
        let url = response.url().clone();
        Ok::<_, anyhow::Error>((
            response.status(),
            url.path().to_owned(),
            url.query().unwrap_or_default().to_owned(),
        ))
    };
    let select = [("id", videos[0].as_str()), ("id", videos[1].as_str()), ("back", "/?sort=added")];
    let with = |more: &[(&'static str, &'static str)]| {
        let mut fields: Vec<(&str, &str)> = select.to_vec();
        fields.extend_from_slice(more);
        fields
    };
    let (status, path, query) = post(&with(&[("action", "add_to_new_album"), ("new_album", "Oma")])).await?;
    assert_eq!((status, path.as_str()), (StatusCode::OK, "/"));
    assert!(query.starts_with("sort=added&done=add_to_album&count=2&album="), "{query}");
    assert_eq!(server.json("/api/albums").await?["albums"][0]["videos"], 2);
    post(&with(&[("action", "favourite")])).await?;
    assert_eq!(server.json("/api/videos?favourite=1").await?["total"], 2);
    let (status, _, query) = post(&[("action", "trash"), ("back", "//elsewhere.example/")]).await?;
    assert_eq!((status, query.as_str()), (StatusCode::OK, "done=none&count=0"));
    post(&with(&[("action", "trash")])).await?;
    assert_eq!(server.json("/api/videos").await?["total"], 0);
    let emptied = server.client().post(server.url("/trash/restore")).send().await?;
    assert_eq!(
        (emptied.status(), server.json("/api/videos").await?["total"].clone()),
        (StatusCode::OK, json!(2))
    );
    Ok(())
}
