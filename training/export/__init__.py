"""From a tracked model to an ONNX release: export, parity check, model card."""
