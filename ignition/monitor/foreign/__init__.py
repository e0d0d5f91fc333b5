"""Other people's logs: tables of metrics, trainer_state.json of Hugging Face, event files of TensorBoard."""
