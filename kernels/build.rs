//! Tells the code whether it is compiled without optimization: then vector operations stay functions of their own.
//! Inlined, each would add its temporary vectors to the frame of a kernel, which would overflow the stack of a thread.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(unoptimized)");
    if std::env::var("OPT_LEVEL").is_ok_and(|level| level == "0") {
        println!("cargo::rustc-cfg=unoptimized");
    }
}
