find_package(dnnl REQUIRED)
find_package(OpenMP REQUIRED)
target_link_libraries(quant_bench PRIVATE DNNL::dnnl OpenMP::OpenMP_CXX)
