//! Tests of the cache and of the hash check, without network.

use super::*;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

fn scratch(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("homereel-hub-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path).unwrap();
    path
}

fn put(cache: &Path, files: &[(&str, &str)]) {
    let model = cache.join("models--Qwen--Qwen3-VL-2B-Instruct");
    std::fs::create_dir_all(model.join("refs")).unwrap();
    std::fs::write(model.join("refs/main"), COMMIT).unwrap();
    let snapshot = model.join("snapshots").join(COMMIT);
    std::fs::create_dir_all(&snapshot).unwrap();
    for (name, body) in files {
        std::fs::write(snapshot.join(name), body).unwrap();
    }
}

#[test]
fn ids_and_revisions_cannot_leave_the_cache() {
    assert!(is_id("Qwen/Qwen3-VL-8B-Instruct") && is_id("a/b.c_d-1"));
    for bad in ["a", "a/b/c", "../b", "a/..", "a/.b", "/b", "a/", "a b/c", "ä/b"] {
        assert!(!is_id(bad), "{bad}");
    }
    assert!(is_revision("main") && is_revision(COMMIT) && is_revision("refs/pr/1"));
    for bad in ["", "..", "a/../b", "a//b", "/a"] {
        assert!(!is_revision(bad), "{bad}");
    }
}

#[test]
fn a_model_is_complete_when_every_shard_is_there() {
    let path = scratch("complete");
    let cache = Cache::new(path.clone());
    let id = "Qwen/Qwen3-VL-2B-Instruct";
    assert_eq!(cached_in(&cache, id, None), None);
    let index = r#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}"#;
    put(
        &path,
        &[
            ("config.json", "{}"),
            ("tokenizer.json", "{}"),
            ("model.safetensors.index.json", index),
            ("model-1.safetensors", "1234"),
        ],
    );
    assert!(!cached_in(&cache, id, None).unwrap().complete, "a shard is missing");
    put(&path, &[("model-2.safetensors", "5678")]);
    let model = cached_in(&cache, id, None).unwrap();
    assert!(model.complete);
    assert_eq!(model.commit, COMMIT);
    assert_eq!(model.bytes, 2 + 2 + 8 + index.len() as u64);
    assert_eq!(cached_in(&cache, id, Some(COMMIT)), Some(model.clone()), "by commit");
    assert_eq!(cached_in(&cache, id, Some("v2")), None);
    assert_eq!(list_in(&cache), [model]);
    std::fs::remove_dir_all(path).unwrap();
}

#[tokio::test]
async fn a_damaged_file_is_found_and_removed() {
    let path = scratch("hash");
    let good = Sha256::digest(b"weights").iter().map(|b| format!("{b:02x}")).collect::<String>();
    for (body, fits) in [("weights", true), ("weighTs", false)] {
        let (blob, pointer) = (path.join(&good), path.join("model.safetensors"));
        std::fs::write(&blob, body).unwrap();
        let _ = std::fs::remove_file(&pointer);
        std::os::unix::fs::symlink(&blob, &pointer).unwrap();
        let result = check_hash(&pointer).await;
        assert_eq!(result.is_ok(), fits, "{result:?}");
        assert_eq!((blob.exists(), pointer.is_symlink()), (fits, fits));
    }
    std::fs::remove_dir_all(path).unwrap();
}

#[test]
fn only_files_that_an_engine_reads_are_fetched() {
    for name in ["config.json", "chat_template.jinja", "model-00001-of-00004.safetensors"] {
        assert!(is_wanted(name), "{name}");
    }
    for name in ["README.md", "pytorch_model.bin", "onnx/model.json", "../config.json", ".gitattributes"] {
        assert!(!is_wanted(name), "{name}");
    }
}
