//! The same as nobody, and as process 1 of a container that holds nothing else.
