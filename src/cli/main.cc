#include "cli/cli.h"

int main(int argc, char** argv) { return tender::cli::run(argc, argv); }
