//! A table as Apache Parquet: one row group a file, plain and uncompressed columns.

use std::io::Write;
use std::sync::Arc;

use parquet::basic::{LogicalType, Repetition, Type as Physical};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, FloatType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::types::Type;

use super::table::{Table, Values};

/// Writes the table.
pub(super) fn write<W: Write + Send>(table: &Table, out: W) -> Result<(), ParquetError> {
    let fields = table.columns.iter().map(|column| {
        let (physical, logical) = match column.values {
            Values::Whole(_) => (Physical::INT64, None),
            Values::Real(_) => (Physical::FLOAT, None),
            Values::Text(_) => (Physical::BYTE_ARRAY, Some(LogicalType::String)),
        };
        Type::primitive_type_builder(column.name, physical)
            .with_repetition(Repetition::OPTIONAL)
            .with_logical_type(logical)
            .build()
            .map(Arc::new)
    });
    let schema = Type::group_type_builder("gazed")
        .with_fields(fields.collect::<Result<_, _>>()?)
        .build()?;
    let properties = WriterProperties::builder()
        .set_created_by(concat!("gazed ", env!("CARGO_PKG_VERSION")).to_owned())
        .build();
    let mut file = SerializedFileWriter::new(out, Arc::new(schema), Arc::new(properties))?;
    let mut rows = file.next_row_group()?;
    for column in &table.columns {
        match &column.values {
            Values::Whole(values) => {
                // Microseconds since 1970 fit 63 bits for the next 290,000 years.
                write_column::<Int64Type, _>(&mut rows, values, |value| *value as i64)?;
            }
            Values::Real(values) => {
                write_column::<FloatType, _>(&mut rows, values, |value| *value)?;
            }
            Values::Text(values) => {
                write_column::<ByteArrayType, _>(&mut rows, values, |value| {
                    ByteArray::from(value.as_str())
                })?;
            }
        }
    }
    rows.close()?;
    file.close()?;
    Ok(())
}

fn write_column<T: DataType, V>(
    rows: &mut SerializedRowGroupWriter<'_, impl Write + Send>,
    values: &[Option<V>],
    convert: impl Fn(&V) -> T::T,
) -> Result<(), ParquetError> {
    let Some(mut column) = rows.next_column()? else {
        return Err(ParquetError::General("more columns than the schema".into()));
    };
    let is_there: Vec<i16> = values
        .iter()
        .map(|value| i16::from(value.is_some()))
        .collect();
    let present: Vec<T::T> = values.iter().flatten().map(convert).collect();
    column
        .typed::<T>()
        .write_batch(&present, Some(&is_there), None)?;
    column.close()
}
