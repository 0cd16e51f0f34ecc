//! The vendors. Reading the table in here is reading the product.
