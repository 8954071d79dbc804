//! Videos, answers, descriptions and decoded frames survive `kill -9`.

use anyhow::{Context as _, ensure};
use homereel_clips::Skill;
use homereel_tests::{PATIENCE, Server, clips};
use serde_json::{Value, json};

use crate::{QUESTION, chat, colour, count, settled, wait_for};

#[tokio::test]
async fn videos_and_answers_survive_a_power_cut() -> anyhow::Result<()> {
    let mut server = Server::start().await?;
    let clip = clips::simple(1)?;
    let id = server.upload(&clip.file).await?;
    let question = json!({"question": QUESTION});
    let stream =
        server.client().post(server.url(&format!("/api/videos/{id}/ask"))).json(&question).send().await?;
    let text = stream.error_for_status()?.text().await?;
    ensure!(text.contains("done"), "{text}");

    server.kill_and_restart().await?;
    let video = server.json(&format!("/api/videos/{id}")).await?;
    let answers = video["answers"].as_array().with_context(|| format!("answers in {video}"))?;
    assert_eq!(answers.len(), 1, "{video}");
    assert_eq!(answers[0]["question"], QUESTION);
    assert_eq!(answers[0]["answer"], colour(&clip)?.as_str());
    let bytes = server.get(&format!("/api/videos/{id}/file")).await?.bytes().await?;
    assert_eq!(bytes, std::fs::read(&clip.file)?);
    assert_eq!(server.answer(&chat(&format!("homereel:{id}"), QUESTION)).await?, colour(&clip)?);
    Ok(())
}

/// Returns how often frames of a clip came from `place`.
async fn frames_from(server: &Server, place: &str) -> anyhow::Result<u64> {
    count(server, &format!("homereel_clips_total{{frames_from=\"{place}\"}}")).await
}

#[tokio::test]
async fn a_second_question_decodes_nothing_even_after_a_restart() -> anyhow::Result<()> {
    let mut server = Server::start().await?;
    let clip = clips::simple(1)?;
    let id = server.upload(&clip.file).await?;
    settled(&server).await?;
    let ask = async |server: &Server, question: &str| -> anyhow::Result<Value> {
        let path = server.url(&format!("/api/videos/{id}/ask"));
        let stream = server.client().post(path).json(&json!({ "question": question })).send().await?;
        stream.error_for_status()?.text().await?;
        let video = server.json(&format!("/api/videos/{id}")).await?;
        Ok(video["answers"][0].clone())
    };
    let folder = server.data().join("frames");
    let kept = wait_for(PATIENCE, async || {
        let folders = std::fs::read_dir(&folder)?.filter_map(Result::ok);
        // The clip, and the probe that chose its frames.
        let mut files =
            folders.flat_map(|of_one| std::fs::read_dir(of_one.path()).into_iter().flatten().flatten());
        Ok(files.any(|file| file.file_name() == "probe").then_some(()))
    });
    kept.await.context("the frames are kept on disk")?;
    let first = ask(&server, QUESTION).await?;
    assert_eq!(first["answer"], colour(&clip)?.as_str());
    // Description, moments and tags share one decode. Its frames are on disk only, so that a long import does not evict from
    // memory what people ask about; from the first question on they are in memory.
    let frames_of = async |place: &str| frames_from(&server, place).await;
    assert_eq!((frames_of("video").await?, frames_of("disk").await?, frames_of("memory").await?), (1, 1, 0));
    assert_eq!(ask(&server, QUESTION).await?["answer"], first["answer"]);
    assert_eq!((frames_of("video").await?, frames_of("disk").await?, frames_of("memory").await?), (1, 1, 1));

    server.kill_and_restart().await?;
    let second = ask(&server, "What shape is the object?").await?;
    assert_eq!(second["stages_ms"]["decode"], 0.0, "{second}");
    assert_eq!(second["media"]["timestamps"], first["media"]["timestamps"]);
    assert_eq!((frames_from(&server, "disk").await?, frames_from(&server, "video").await?), (1, 0));
    assert_eq!(ask(&server, QUESTION).await?["answer"], first["answer"], "the very frames");

    // Spoilt by a bad sector: decoded again, and right.
    let one = std::fs::read_dir(&folder)?.next().context("a folder")??.path();
    for file in std::fs::read_dir(&one)? {
        let file = file?.path();
        let mut bytes = std::fs::read(&file)?;
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x55;
        std::fs::write(&file, bytes)?;
    }
    server.kill_and_restart().await?;
    assert_eq!(ask(&server, QUESTION).await?["answer"], first["answer"]);
    assert_eq!((frames_from(&server, "disk").await?, frames_from(&server, "video").await?), (0, 1));

    // Deleted for good: nothing of it stays.
    for path in [format!("/api/videos/{id}"), format!("/api/videos/{id}?permanently=true")] {
        server.client().delete(server.url(&path)).send().await?.error_for_status()?;
    }
    assert!(!one.exists(), "pictures of a deleted video are gone");
    Ok(())
}

#[tokio::test]
async fn a_video_is_described_by_itself_even_across_a_power_cut() -> anyhow::Result<()> {
    let mut server = Server::start().await?;
    let clip = clips::simple(4)?;
    let id = server.upload(&clip.file).await?;
    // Acknowledged: from here on nothing may be lost.
    server.kill_and_restart().await?;
    let truth = clip.questions.iter().find(|q| q.skill == Skill::Describe).context("a description")?;
    let path = format!("/api/videos/{id}");
    let video = wait_for(PATIENCE, async || {
        let video = server.json(&path).await?;
        Ok(video.to_string().contains(&truth.answer).then_some(video))
    });
    video.await.with_context(|| format!("never described as '{}'", truth.answer))?;
    Ok(())
}
