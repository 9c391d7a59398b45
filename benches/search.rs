//! What a search costs among 500 tools in the manner of public servers, and what it costs to make ready for one.

#[path = "../tests/support/search/mod.rs"]
mod catalogue;

use std::{hint::black_box, sync::Arc};

use bytes::Bytes;
use criterion::{Criterion, criterion_group, criterion_main};
use hangar::{
    control::search::{Library, Shelf, Source, answer},
    provider::{Item, Listing},
    wire::shallow,
};

const TOOLS: usize = 500;
const PROVIDERS: usize = 10;

fn items(provider: usize) -> Vec<Item> {
    let each = TOOLS / PROVIDERS;
    let tools = catalogue::chosen(&format!("{}+{each}", provider * each));
    let item = |tool: &serde_json::Value| {
        let text = Bytes::from(tool.to_string());
        Item::read(&text, shallow::root(&text).unwrap(), Listing::Tools).unwrap()
    };
    tools.iter().map(item).collect()
}

fn source(provider: usize, items: &[Item]) -> Source {
    Source { owner: format!("server{provider}"), about: None, items: items.to_vec() }
}

fn shelf(provider: usize, items: &[Item]) -> Arc<Shelf> {
    Arc::new(Shelf::of(&format!("server{provider}"), None, items.iter()))
}

fn search(c: &mut Criterion) {
    let items: Vec<_> = (0..PROVIDERS).map(items).collect();
    let library = Library::default();
    let sources = || items.iter().enumerate().map(|(n, items)| source(n, items)).collect::<Vec<_>>();
    let shelves: Vec<_> = items.iter().enumerate().map(|(n, items)| shelf(n, items)).collect();
    let queries = catalogue::queries();
    let mut next = (0..queries.len()).cycle();
    c.bench_function("search: 500 tools, each query in turn", |b| {
        b.iter(|| answer(&library.shelves(sources()), queries[next.next().unwrap()].text, 10, false))
    });
    c.bench_function("search: 500 tools, three words that nobody knows", |b| {
        b.iter(|| answer(&shelves, black_box("qzxwvkjyh attachmenqs calendrrr"), 10, false))
    });
    c.bench_function("search: made ready for one provider of 50 tools", |b| b.iter(|| shelf(0, &items[0])));
    c.bench_function("search: made ready for all 500", |b| {
        b.iter(|| items.iter().enumerate().map(|(n, items)| shelf(n, items)).collect::<Vec<_>>())
    });
}

criterion_group!(benches, search);
criterion_main!(benches);
