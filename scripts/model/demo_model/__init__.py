"""Parts of `scripts/model/train-demo-model.py`: scenes, questions, network, data, checkpoint."""
