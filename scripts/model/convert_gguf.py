"""llama.cpp's own converter (convert_hf_to_gguf.py of the sources in PYTHONPATH), for checkpoints whose tokenizer is not
one of those that it knows by a hash: ours split text by Qwen's pattern, so that is what is written into the file.
Knows nothing of models; every argument is the converter's."""

import runpy
import sys
from pathlib import Path

from conversion.base import TextModel

TextModel.get_vocab_base_pre = lambda self, tokenizer: "qwen2"

source = next(Path(p) for p in sys.path if (Path(p) / "convert_hf_to_gguf.py").is_file())
sys.argv[0] = str(source / "convert_hf_to_gguf.py")
runpy.run_path(sys.argv[0], run_name="__main__")
