//! One command of Redis for each request: `/<command>/<argument>/…`, at the address of the variable `redis_url`, or of
//! the header `x-address`. The answer is the result, or the error.

use spin_sdk::http::{IntoResponse, Request};
#[cfg(target_family = "wasm")]
use spin_sdk::http_service;
use spin_sdk::redis::{Connection, Error, RedisParameter, RedisResult};
use spin_sdk::variables;

/// Does what the path says.
#[cfg_attr(target_family = "wasm", http_service)]
pub async fn handle(request: Request) -> impl IntoResponse {
    let address = match request.headers().get("x-address") {
        Some(address) => address.to_str().unwrap_or_default().to_owned(),
        None => variables::get("redis_url").await.unwrap_or_default(),
    };
    let words: Vec<&str> = request.uri().path().trim_matches('/').split('/').collect();
    match ask(&address, &words).await {
        Ok(answer) => answer,
        Err(Error::Other(text)) => format!("other: {text}"),
        Err(Error::InvalidAddress) => "invalid address".to_owned(),
        Err(Error::TooManyConnections) => "too many connections".to_owned(),
        Err(Error::TypeError) => "type error".to_owned(),
    }
}

async fn ask(address: &str, words: &[&str]) -> Result<String, Error> {
    let connection = Connection::open(address).await?;
    Ok(match words {
        ["get", key] => match connection.get(key).await? {
            Some(value) => format!("some {}", String::from_utf8_lossy(&value)),
            None => "none".to_owned(),
        },
        ["set", key, value] => format!("{:?}", connection.set(key, value).await?),
        ["incr", key] => connection.incr(key).await?.to_string(),
        ["del", keys @ ..] => connection.del(keys).await?.to_string(),
        ["sadd", key, values @ ..] => connection.sadd(key, values).await?.to_string(),
        ["srem", key, values @ ..] => connection.srem(key, values).await?.to_string(),
        ["smembers", key] => {
            let mut members = connection.smembers(key).await?;
            members.sort();
            members.join(" ")
        }
        ["publish", channel, message] => format!("{:?}", connection.publish(channel, message).await?),
        ["execute", command, arguments @ ..] => {
            let arguments = arguments.iter().map(|argument| parameter(argument));
            let results = connection.execute(command, arguments).await?;
            let results: Vec<String> = results.into_iter().map(show).collect();
            results.join(", ")
        }
        _ => "opened".to_owned(),
    })
}

/// `int:5` is a number, everything else is bytes; a space is written `+`.
fn parameter(text: &str) -> RedisParameter {
    match text.strip_prefix("int:").and_then(|number| number.parse().ok()) {
        Some(number) => RedisParameter::Int64(number),
        None => RedisParameter::Binary(text.replace('+', " ").into_bytes()),
    }
}

fn show(result: RedisResult) -> String {
    match result {
        RedisResult::Nil => "nil".to_owned(),
        RedisResult::Status(status) => format!("status {status}"),
        RedisResult::Int64(number) => format!("int {number}"),
        RedisResult::Binary(bytes) => format!("binary {}", String::from_utf8_lossy(&bytes)),
    }
}
