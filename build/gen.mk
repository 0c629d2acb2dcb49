# Generated code; see proto/.
GEN_SRCS =
GEN_STAMP =
