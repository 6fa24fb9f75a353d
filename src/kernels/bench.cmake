pkg_check_modules(openblas REQUIRED IMPORTED_TARGET openblas)
target_link_libraries(kernels_bench PRIVATE PkgConfig::openblas tender_warnings)
set_source_files_properties(${dir}/gemm_f32/two_sums_avx512_bench.cc
                            PROPERTIES COMPILE_OPTIONS "${tender_isa_avx512}")
