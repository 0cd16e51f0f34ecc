//! The page in a browser that has never seen it.

use std::time::Duration;

use serde_json::Value;

use crate::browser::Browser;
use crate::figures::{Figures, Goal, Unit};
use crate::house::House;

const VISITS: usize = 10;

/// Navigation start to first paint and to the load event, and the bytes of the page and of all that it loads.
const VISIT: &str = "(() => {
    const [navigation] = performance.getEntriesByType('navigation');
    const [paint] = performance.getEntriesByName('first-contentful-paint');
    const loaded = [navigation, ...performance.getEntriesByType('resource')];
    return { paint: paint.startTime, load: navigation.loadEventEnd, requests: loaded.length,
             bytes: loaded.reduce((sum, { transferSize }) => sum + transferSize, 0) };
})()";

pub(crate) async fn measure(figures: &mut Figures) {
    let house = House::open().await;
    let browser = Browser::launch().await;
    let address = format!("http://{}/", house.page);
    let mut visits = Vec::new();
    // The first one also starts what the browser needs for any page.
    for _ in 0..=VISITS {
        let page = browser.open("about:blank").await;
        page.without_cache().await;
        page.go(&address).await;
        page.until("document.querySelector('.card') && performance.getEntriesByType('navigation')[0].loadEventEnd > 0")
            .await;
        page.until("performance.getEntriesByName('first-contentful-paint').length").await;
        visits.push(page.value(VISIT).await);
        page.go("about:blank").await;
    }
    visits.remove(0);
    let times = |what: &str| visits.iter().map(|visit| milliseconds(&visit[what])).collect::<Vec<_>>();
    let bytes = visits.iter().filter_map(|visit| visit["bytes"].as_f64()).fold(0.0, f64::max);
    figures.add("page: everything it loads, headers included", bytes / 1_000.0, Unit::Kilobytes, Goal::AtMost(150.0));
    let requests = visits.iter().filter_map(|visit| visit["requests"].as_f64()).fold(0.0, f64::max);
    figures.add("page: requests", requests, Unit::Count, Goal::None);
    figures.add_times("page: first paint", &mut times("paint"), Goal::None, Goal::None);
    figures.add_times("page: loaded", &mut times("load"), Goal::AtMost(300.0), Goal::None);
}

fn milliseconds(value: &Value) -> Duration {
    Duration::from_secs_f64(value.as_f64().unwrap() / 1_000.0)
}
