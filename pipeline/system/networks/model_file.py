"""TensorFlow Lite models as objects of LiteRT's schema, and back."""

from __future__ import annotations

from typing import Any


def unpack_model(model: bytes) -> tuple[Any, list[str]]:
    """Return a model as an object, and the kinds of its operators, such as ``CONV_2D``, by their codes' numbers.

    >>> writer = NetworkWriter((1, 2))
    >>> unpack_model(writer.finish(writer.logistic(writer.input)))[1]
    ['LOGISTIC']
    """
    from ai_edge_litert import schema_py_generated as schema

    network = schema.ModelT.InitFromObj(schema.Model.GetRootAs(model, 0))
    names = {code: kind for kind, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
    return network, [names[max(code.builtinCode, code.deprecatedBuiltinCode)] for code in network.operatorCodes]


def pack_model(network: Any) -> bytes:
    """Return the bytes of a model's object; the inverse of ``unpack_model``.

    >>> writer = NetworkWriter((1, 2))
    >>> model = writer.finish(writer.logistic(writer.input))
    >>> pack_model(unpack_model(model)[0]) == model
    True
    """
    import flatbuffers

    builder = flatbuffers.Builder(sum(len(one.data) for one in network.buffers if one.data is not None) + 2**16)
    builder.Finish(network.Pack(builder), b"TFL3")
    return bytes(builder.Output())
