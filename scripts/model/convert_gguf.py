"""Runs llama.cpp's converter (convert_hf_to_gguf.py of the sources in PYTHONPATH) on checkpoints whose tokenizer it does not
recognize by its hash. Our tokenizers split text by Qwen's pattern, so that pre-tokenizer is written to the file. All arguments
are passed to the converter."""

import runpy
import sys
from pathlib import Path

from conversion.base import TextModel

TextModel.get_vocab_base_pre = lambda self, tokenizer: "qwen2"

source = next(Path(p) for p in sys.path if (Path(p) / "convert_hf_to_gguf.py").is_file())
sys.argv[0] = str(source / "convert_hf_to_gguf.py")
runpy.run_path(sys.argv[0], run_name="__main__")
