//! Runs the statement in the body and shows what comes back: `/query` its columns, `/execute` how many rows. The header
//! `x-parameter` gives it a parameter, `<type> <value>`, as often as it comes.

use spin_sdk::http::body::IncomingBodyExt as _;
use spin_sdk::http::{HeaderMap, IntoResponse, Request};
#[cfg(target_family = "wasm")]
use spin_sdk::http_service;
use spin_sdk::pg::{
    Connection, DbValue, Error, Interval, ParameterValue, PgError, QueryError, RangeBoundKind,
};
use spin_sdk::variables;

/// The result, or the kind of error.
#[cfg_attr(target_family = "wasm", http_service)]
pub async fn handle(request: Request) -> impl IntoResponse {
    let (parts, body) = request.into_parts();
    let statement = String::from_utf8_lossy(&body.bytes().await.unwrap_or_default()).into_owned();
    let Some(parameters) = parameters(&parts.headers) else {
        return "no such parameter".to_owned();
    };
    let result = match parts.uri.path() {
        "/execute" => execute(statement, parameters).await,
        _ => query(statement, parameters).await,
    };
    result.unwrap_or_else(|error| match error {
        Error::PgError(PgError::QueryFailed(QueryError::DbError(error))) => {
            format!("database error {}", error.code)
        }
        // Those that come from the host: each explains them in its own words.
        Error::PgError(PgError::QueryFailed(QueryError::Text(_))) => "query failed".to_owned(),
        Error::PgError(PgError::BadParameter(_)) => "bad parameter".to_owned(),
        Error::PgError(PgError::ValueConversionFailed(_)) => "value conversion failed".to_owned(),
        error => format!("{error:?}"),
    })
}

async fn execute(statement: String, parameters: Vec<ParameterValue>) -> Result<String, Error> {
    let connection = connect().await?;
    Ok(format!(
        "{} rows",
        connection.execute(statement, parameters).await?
    ))
}

async fn query(statement: String, parameters: Vec<ParameterValue>) -> Result<String, Error> {
    let connection = connect().await?;
    let mut result = connection.query(statement, parameters).await?;
    let columns = result.columns().to_vec();
    let mut rows = Vec::new();
    while let Some(row) = result.rows().next().await {
        rows.push(row);
    }
    result.result().await?;
    let head = columns
        .iter()
        .map(|column| format!("{} {:?}", column.name, column.data_type).replace("DbDataType::", ""));
    let lines = rows.iter().map(|row| {
        let values: Vec<String> = row.iter().map(show).collect();
        values.join(", ")
    });
    let head: Vec<String> = head.collect();
    let lines: Vec<String> = std::iter::once(head.join(", ")).chain(lines).collect();
    Ok(lines.join("\n"))
}

async fn connect() -> Result<Connection, Error> {
    Connection::open(variables::get("postgres_url").await.unwrap_or_default()).await
}

/// Bytes as hexadecimal digits, JSON as text.
fn show(value: &DbValue) -> String {
    let text = match value {
        DbValue::Unsupported(bytes) => format!("Unsupported({})", hexadecimal(bytes)),
        DbValue::Binary(bytes) => format!("Binary({})", hexadecimal(bytes)),
        DbValue::Jsonb(bytes) => format!("Jsonb({})", String::from_utf8_lossy(bytes)),
        value => format!("{value:?}"),
    };
    text.replace("DbValue::", "").replace("RangeBoundKind::", "")
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn parameters(headers: &HeaderMap) -> Option<Vec<ParameterValue>> {
    let given = headers.get_all("x-parameter").iter();
    given
        .map(|value| {
            let (kind, value) = value.to_str().ok()?.split_once(' ')?;
            parameter(kind, value)
        })
        .collect()
}

fn parameter(kind: &str, value: &str) -> Option<ParameterValue> {
    let numbers: Vec<i64> = value
        .split([' ', '-', ':', '.', ','])
        .filter_map(|number| number.parse().ok())
        .collect();
    Some(match kind {
        "boolean" => ParameterValue::Boolean(value.parse().ok()?),
        "int8" => ParameterValue::Int8(value.parse().ok()?),
        "int16" => ParameterValue::Int16(value.parse().ok()?),
        "int32" => ParameterValue::Int32(value.parse().ok()?),
        "int64" => ParameterValue::Int64(value.parse().ok()?),
        "floating32" => ParameterValue::Floating32(value.parse().ok()?),
        "floating64" => ParameterValue::Floating64(value.parse().ok()?),
        "str" => ParameterValue::Str(value.to_owned()),
        "binary" => ParameterValue::Binary(value.as_bytes().to_vec()),
        "uuid" => ParameterValue::Uuid(value.to_owned()),
        "jsonb" => ParameterValue::Jsonb(value.as_bytes().to_vec()),
        "decimal" => ParameterValue::Decimal(value.to_owned()),
        "timestamp" => ParameterValue::Timestamp(value.parse().ok()?),
        "date" => match small(&numbers)?[..] {
            [month, day] => ParameterValue::Date((i32::try_from(*numbers.first()?).ok()?, month, day)),
            _ => return None,
        },
        "time" => match numbers[..] {
            [hour, minute, second, nanosecond] => ParameterValue::Time((
                u8::try_from(hour).ok()?,
                u8::try_from(minute).ok()?,
                u8::try_from(second).ok()?,
                u32::try_from(nanosecond).ok()?,
            )),
            _ => return None,
        },
        "datetime" => match small(&numbers)?[..] {
            [month, day, hour, minute, second] => {
                let year = i32::try_from(*numbers.first()?).ok()?;
                ParameterValue::Datetime((year, month, day, hour, minute, second, 0))
            }
            _ => return None,
        },
        "array-int32" => ParameterValue::ArrayInt32(list(value, |item| item.parse().ok())),
        "array-int64" => ParameterValue::ArrayInt64(list(value, |item| item.parse().ok())),
        "array-decimal" => ParameterValue::ArrayDecimal(list(value, |item| Some(item.to_owned()))),
        "array-str" => ParameterValue::ArrayStr(list(value, |item| Some(item.to_owned()))),
        "range-int32" => match numbers[..] {
            [lower, upper] => ParameterValue::RangeInt32((
                Some((i32::try_from(lower).ok()?, RangeBoundKind::Inclusive)),
                Some((i32::try_from(upper).ok()?, RangeBoundKind::Exclusive)),
            )),
            _ => return None,
        },
        "interval" => ParameterValue::Interval(Interval {
            micros: value.parse().ok()?,
            days: 0,
            months: 0,
        }),
        "null" => ParameterValue::DbNull,
        _ => return None,
    })
}

/// All but the first.
fn small(numbers: &[i64]) -> Option<Vec<u8>> {
    let rest = numbers.iter().skip(1);
    rest.map(|number| u8::try_from(*number).ok()).collect()
}

/// `-` is a null.
fn list<T>(value: &str, item: impl Fn(&str) -> Option<T>) -> Vec<Option<T>> {
    let items = value.split(',');
    items
        .map(|text| if text == "-" { None } else { item(text) })
        .collect()
}
