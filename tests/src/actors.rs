//! The people who use the shop over HTTP, each with what they may do.

use anyhow::{Context, Result, ensure};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use uuid::Uuid;

/// Somebody with a browser: signed in or not.
#[derive(Clone)]
pub struct Actor {
    client: Client,
    bases: Bases,
    token: Option<String>,
    /// The signed-in user's refresh token, if any.
    pub refresh_token: Option<String>,
    /// The signed-in user's id, if any.
    pub id: Option<String>,
    /// The signed-in user's address, if any.
    pub email: Option<String>,
}

/// The shop's addresses, of which each request takes the next.
#[derive(Clone)]
struct Bases {
    all: Arc<[String]>,
    taken: Arc<AtomicUsize>,
}

impl Bases {
    fn new(bases: &str) -> Self {
        let bases = bases.split_whitespace();
        Self {
            all: bases.map(|base| base.trim_end_matches('/').to_owned()).collect(),
            taken: Arc::default(),
        }
    }

    fn next(&self) -> &str {
        let taken = self.taken.fetch_add(1, Ordering::Relaxed);
        self.all
            .get(taken % self.all.len().max(1))
            .map_or("", String::as_str)
    }
}

/// An answer, read whole.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Answer {
    /// The body as JSON; null if it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or(Value::Null)
    }

    /// The header `name`, or nothing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    /// The body of an answer with this status.
    ///
    /// # Errors
    /// If it has another.
    pub fn expect(&self, status: u16) -> Result<Value> {
        ensure!(
            self.status.as_u16() == status,
            "{} instead of {status}: {}",
            self.status,
            self.text
        );
        Ok(self.json())
    }

    /// Checks that this is a problem of the type `/problems/<slug>` with this status.
    ///
    /// # Errors
    /// If it is not.
    pub fn expect_problem(&self, status: u16, slug: &str) -> Result<Value> {
        let body = self.expect(status)?;
        let kind = format!("/problems/{slug}");
        ensure!(body["type"] == kind.as_str(), "{} instead of {kind}", self.text);
        ensure!(
            body["status"] == status,
            "the body's status differs: {}",
            self.text
        );
        ensure!(
            self.header("content-type") == "application/problem+json",
            "{:?}",
            self.headers
        );
        Ok(body)
    }
}

impl Actor {
    /// Somebody who is not signed in, at the shop under `base`; of several addresses, separated by blanks, each request
    /// takes the next.
    ///
    /// # Errors
    /// If no client can be made.
    pub fn anonymous(base: &str) -> Result<Self> {
        let client = Client::builder().timeout(Duration::from_secs(30)).build()?;
        Ok(Self {
            client,
            bases: Bases::new(base),
            token: None,
            refresh_token: None,
            id: None,
            email: None,
        })
    }

    /// The same person at another address: clients of one address are one to the shop.
    ///
    /// # Errors
    /// If no client can be made.
    pub fn from_address(&self, address: std::net::IpAddr) -> Result<Self> {
        let client = Client::builder()
            .timeout(Duration::from_secs(30))
            .local_address(address)
            .build()?;
        Ok(Self {
            client,
            ..self.clone()
        })
    }

    /// Somebody with this token.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self {
            token: Some(token.to_owned()),
            ..self.clone()
        }
    }

    /// The same person at another address of the shop.
    #[must_use]
    pub fn at(&self, base: &str) -> Self {
        Self {
            bases: Bases::new(base),
            ..self.clone()
        }
    }

    /// The bearer token, if signed in.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// A new user.
    ///
    /// # Errors
    /// If the shop does not register one.
    pub async fn register(&self) -> Result<Self> {
        let email = format!("user-{}@example.com", Uuid::now_v7());
        let body = json!({"email": email, "password": "correct horse battery"});
        let answer = self.post("/api/auth/register", &body).await?;
        self.signed_in(&answer.expect(201)?)
    }

    /// Signs in.
    ///
    /// # Errors
    /// If the shop refuses.
    pub async fn login(&self, email: &str, password: &str) -> Result<Self> {
        let answer = self
            .post("/api/auth/login", &json!({"email": email, "password": password}))
            .await?;
        self.signed_in(&answer.expect(200)?)
    }

    /// The admin of the demo.
    ///
    /// # Errors
    /// If there is no demo data.
    pub async fn admin(&self) -> Result<Self> {
        self.login("admin@example.com", "admin123").await
    }

    /// The courier of the demo.
    ///
    /// # Errors
    /// If there is no demo data.
    pub async fn courier(&self) -> Result<Self> {
        self.login("courier@example.com", "courier123").await
    }

    fn signed_in(&self, body: &Value) -> Result<Self> {
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let token = text(&body["access_token"]).context("no access_token")?;
        let (id, email) = (text(&body["user"]["id"]), text(&body["user"]["email"]));
        Ok(Self {
            token: Some(token),
            refresh_token: text(&body["refresh_token"]),
            id,
            email,
            ..self.clone()
        })
    }

    /// A request that is still to be sent, for what the calls below have no word.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self
            .client
            .request(method, format!("{}{path}", self.bases.next()));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Sends `request` and reads the whole answer.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn send(&self, request: reqwest::RequestBuilder) -> Result<Answer> {
        let response = request.send().await?;
        let (status, headers) = (response.status(), response.headers().clone());
        Ok(Answer {
            status,
            headers,
            text: response.text().await?,
        })
    }

    /// GET.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        self.send(self.request(Method::GET, path)).await
    }

    /// POST with a JSON body.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    /// PATCH with a JSON body.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn patch(&self, path: &str, body: &Value) -> Result<Answer> {
        self.send(self.request(Method::PATCH, path).json(body)).await
    }

    /// DELETE.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn delete(&self, path: &str) -> Result<Answer> {
        self.send(self.request(Method::DELETE, path)).await
    }

    /// Puts a flower into the catalog (as an admin) and gives its id.
    ///
    /// # Errors
    /// If the shop refuses.
    pub async fn add_flower(&self, name: &str, amount: &str) -> Result<String> {
        let body = json!({
            "name": name, "price": {"amount": amount, "currency": "RUB"}, "stock_quantity": 1_000_000,
            "flower_type": "rose",
        });
        let flower = self.post("/api/catalog/flowers", &body).await?.expect(201)?;
        flower["id"]
            .as_str()
            .map(str::to_owned)
            .context("a flower without id")
    }

    /// The id of the demo's red rose.
    ///
    /// # Errors
    /// If there is no demo data.
    pub async fn rose(&self) -> Result<String> {
        let roses = self
            .get("/api/catalog/flowers?search=Red%20Rose")
            .await?
            .expect(200)?;
        let id = roses["items"][0]["id"].as_str();
        id.map(str::to_owned).context("no rose")
    }

    /// Orders so many of one flower.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn order(&self, flower_id: &str, quantity: u32) -> Result<Answer> {
        self.order_paying(flower_id, quantity, "pm_card_visa").await
    }

    /// Orders so many of one flower, to be paid in this way.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn order_paying(&self, flower_id: &str, quantity: u32, method: &str) -> Result<Answer> {
        let body = json!({
            "items": [{"flower_id": flower_id, "quantity": quantity}],
            "delivery_address": "1 Rose Street",
            "payment_method": method,
        });
        self.post("/api/orders", &body).await
    }

    /// Orders one flower, waiting until ordering has heard of it.
    ///
    /// # Errors
    /// If it is not to be had within 10 s.
    pub async fn order_once_known(&self, flower_id: &str, method: &str) -> Result<String> {
        let look = async || {
            let answer = self.order_paying(flower_id, 1, method).await?;
            if answer.status == StatusCode::UNPROCESSABLE_ENTITY {
                return Ok(None);
            }
            Ok(answer.expect(201)?["id"].as_str().map(str::to_owned))
        };
        crate::eventually("the flower can be ordered", Duration::from_secs(10), look).await
    }

    /// Waits until the order has this status.
    ///
    /// # Errors
    /// If it does not within 30 s.
    pub async fn await_status(&self, order_id: &str, status: &str) -> Result<Value> {
        let what = format!("order {order_id} is {status}");
        let look = async || {
            let order = self.get(&format!("/api/orders/{order_id}")).await?.expect(200)?;
            Ok((order["status"] == status).then_some(order))
        };
        crate::eventually(&what, Duration::from_secs(30), look).await
    }
}
