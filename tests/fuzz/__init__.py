"""Random ONNX models, read by both readers and compared with onnxruntime.

A case is a generator and a seed, `windows:17`, and always the same model. Generators make models of any form that an
ONNX file can have, sensible or not: what onnxruntime does not run is skipped, and what a reader refuses is right.
"""
