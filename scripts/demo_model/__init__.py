"""Parts of `scripts/train-demo-model.py`: scenes, questions, network, data, checkpoint."""
