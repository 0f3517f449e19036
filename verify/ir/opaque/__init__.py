"""Models that are only executed: what no front-end can represent is still searched for counterexamples.

Such a model is a network of one node, `verify.ops.opaque.Opaque`, so that problems, fronts, witnesses and runs treat it
as any other; methods that need a graph refuse it by the reason. `entry` makes it of a file or a module, `module` calls
a torch module, `file` an ONNX file in onnxruntime, which `runtime` keeps in a process of its own (`child`), since a
file that nobody could read may end it or go on for ever. `gradients`, `gradient_ops` and `gradient_moves` differentiate
an ONNX file by torch: they say where to look, and nothing that they say is believed.
"""
