//! What examples of the document and the handlers agree on.
