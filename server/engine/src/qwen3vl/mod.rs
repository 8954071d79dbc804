//! Qwen3-VL, ours and exact: the checkpoint's files in, logits out. Knows no scheduler and no threads.
