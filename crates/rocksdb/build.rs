//! Compiles `cpp/options.cc` against the headers of the RocksDB that is linked.

fn main() {
    println!("cargo::rerun-if-changed=cpp/options.cc");
    println!("cargo::rerun-if-changed=build.rs");
    let Some(include) = std::env::var_os("DEP_ROCKSDB_INCLUDE") else {
        println!(
            "cargo::error=where RocksDB's C++ headers are is unknown: run tools/setup, or set ROCKSDB_INCLUDE_DIR"
        );
        return;
    };
    cc::Build::new()
        .cpp(true)
        .std("c++20")
        .include(include)
        // As RocksDB itself was compiled.
        .define("NDEBUG", None)
        .flag_if_supported("-fno-rtti")
        .flag_if_supported("-Wno-unused-parameter")
        .flag("-include")
        .flag("cstdint")
        .file("cpp/options.cc")
        .compile("highwater_rocksdb_options");
}
