//! The page's "Access from other machines": for whom it is there, and the token that it makes.

use doorstep::secret::Token;

use crate::support::browser::{Browser, Page};
use crate::support::house::House;
use crate::support::http::request_with;

/// Opens what is folded away.
async fn unfold(page: &Page) {
    page.until("document.querySelector('.access')").await;
    page.value("document.querySelector('.access').open = true").await;
}

async fn press(page: &Page, selector: &str) {
    for kind in ["mousePressed", "mouseReleased"] {
        page.mouse(kind, selector).await;
    }
}

async fn text(page: &Page, selector: &str) -> String {
    let text = page.value(&format!("document.querySelector({selector:?}).textContent")).await;
    text.as_str().unwrap().to_owned()
}

/// The token that is shown, once it is another than `known`.
async fn shown(page: &Page, known: &str) -> String {
    page.until("!document.querySelector('.access-token').hidden").await;
    page.until(&format!("document.querySelector('.access-token input').value !== {known:?}")).await;
    page.value("document.querySelector('.access-token input').value").await.as_str().unwrap().to_owned()
}

async fn opens(house: &House, token: &str) -> u16 {
    let authorization = format!("Bearer {token}");
    request_with(house.address, "GET", "/api/doorbells", &[("authorization", &authorization)], "").await.status
}

#[tokio::test]
async fn a_token_is_made_in_home_assistant_shown_once_and_replaced_only_on_purpose() {
    let browser = Browser::launch().await;
    let house = House::locked("Zq3vJ8xkLw5nB2yTf7Rm4Hc9Ds6Pg1Ua").await;
    let page = browser.open(&format!("http://{}/", house.ingress)).await;
    unfold(&page).await;
    assert!(text(&page, ".access-reach").await.contains("once its port"));
    assert_eq!(text(&page, ".access-since").await, "No token has been made here yet.");
    press(&page, ".access-make").await;
    let first = shown(&page, "").await;
    assert_eq!((first.len(), opens(&house, &first).await), (43, 200));
    press(&page, ".access-copy").await;
    page.until(
        "/^Cop/.test(document.querySelector('.access-note').textContent) && \
                !document.querySelector('.access-note').textContent.includes('now')",
    )
    .await;
    page.until("document.querySelector('.access-since').textContent.startsWith('There is a token, made on')").await;

    press(&page, ".access-make").await;
    page.until("document.querySelector('.access-make').textContent === 'Replace the token'").await;
    assert_eq!(opens(&house, &first).await, 200, "it was replaced at the first press");
    press(&page, ".access-make").await;
    let second = shown(&page, &first).await;
    assert_eq!((opens(&house, &first).await, opens(&house, &second).await), (401, 200));

    page.go(&format!("http://{}/", house.ingress)).await;
    unfold(&page).await;
    let everything = page.value("document.documentElement.outerHTML + JSON.stringify(sessionStorage)").await;
    assert!(!everything.as_str().unwrap().contains(&second), "it is shown again");
    page.until("document.querySelector('.access-since').textContent.startsWith('There is a token')").await;
    // This house has no pictures.
    let complaints = browser.complaints().await;
    assert!(complaints.iter().all(|complaint| complaint.contains("404")), "{complaints:?}");
}

#[tokio::test]
async fn on_the_machine_itself_the_page_says_how_others_get_in() {
    let browser = Browser::launch().await;
    let house = House::open().await;
    let page = browser.open(&house.url()).await;
    unfold(&page).await;
    let reach = text(&page, ".access-reach").await;
    assert!(reach.contains(&house.address.to_string()) && reach.contains("http.listen"), "{reach}");
    press(&page, ".access-make").await;
    shown(&page, "").await;
    page.until("document.querySelector('.card')").await;
}

#[tokio::test]
async fn who_came_with_a_token_is_not_shown_how_to_make_one() {
    let browser = Browser::launch().await;
    let house = House::locked("Zq3vJ8xkLw5nB2yTf7Rm4Hc9Ds6Pg1Ua").await;
    let given = Token::new("Zq3vJ8xkLw5nB2yTf7Rm4Hc9Ds6Pg1Ua");
    let page = browser.open(&house.url()).await;
    page.until("!document.getElementById('sign-in').hidden").await;
    page.value(&format!("document.getElementById('token').value = {:?}", given.expose())).await;
    page.value("document.getElementById('sign-in-form').requestSubmit()").await;
    page.until("document.querySelector('.card') && document.getElementById('footer').textContent").await;
    page.until("performance.getEntriesByType('resource').some((e) => e.name.endsWith('api/access') && e.responseEnd)")
        .await;
    assert_eq!(page.value("document.getElementById('access').hidden").await, true);
}
