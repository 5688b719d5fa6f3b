//! How `numpy` arrays of bytes are put together from pickled values.
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::arithmetic_side_effects)]

use super::PickleError;
use super::value::{Array, Bytes, Global, Value};

/// What calling `function` with `arguments` would give, for the five calls that make up an array.
pub(super) fn call(file: &[u8], offset: usize, function: Global, arguments: &[Value]) -> Result<Value, PickleError> {
    match (function, arguments) {
        (Global::Reconstruct, [Value::Global(Global::Array), Value::Tuple(_), _]) => Ok(Value::NewArray),
        (Global::Dtype, [name, ..]) if name.is_text(file, "u1") || name.is_text(file, "|u1") => Ok(Value::Dtype),
        (Global::Dtype, _) => Err(PickleError::Array { offset, found: "of another element type" }),
        (Global::FromBuffer, [Value::Bytes(bytes), Value::Dtype, Value::Tuple(shape), order]) => {
            let fortran = !order.is_text(file, "C");
            array(file, offset, shape, fortran, *bytes)
        }
        (Global::Encode, [Value::Text(span), codec]) if codec.is_text(file, "latin1") => {
            Ok(Value::Bytes(Bytes::Latin1(*span)))
        }
        _ => Err(PickleError::Stack { offset }),
    }
}

/// What `object` becomes when it gets `state`.
pub(super) fn set_state(file: &[u8], offset: usize, object: &Value, state: &Value) -> Result<Value, PickleError> {
    let Value::Tuple(state) = state else { return Err(PickleError::Stack { offset }) };
    match (object, state.as_slice()) {
        (Value::Dtype, [Value::Int(_), order, ..]) if order.is_text(file, "|") => Ok(Value::Dtype),
        (
            Value::NewArray,
            [Value::Int(_), Value::Tuple(shape), Value::Dtype, Value::Bool(fortran), Value::Bytes(bytes)],
        ) => array(file, offset, shape, *fortran, *bytes),
        _ => Err(PickleError::Stack { offset }),
    }
}

fn array(file: &[u8], offset: usize, shape: &[Value], fortran: bool, bytes: Bytes) -> Result<Value, PickleError> {
    if fortran {
        return Err(PickleError::Array { offset, found: "in column-major order" });
    }
    let [Value::Int(rows), Value::Int(columns)] = shape else {
        return Err(PickleError::Array { offset, found: "of another number of dimensions" });
    };
    let (Ok(rows), Ok(columns)) = (usize::try_from(*rows), usize::try_from(*columns)) else {
        return Err(PickleError::Array { offset, found: "of a negative size" });
    };
    let found = bytes.len(file);
    if rows.checked_mul(columns) != Some(found) {
        return Err(PickleError::ArraySize { offset, found, rows, columns });
    }
    Ok(Value::Array(Box::new(Array { shape: [rows, columns], bytes })))
}
