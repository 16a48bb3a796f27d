/*
 * methods - input structs and handlers of methods.def.
 *
 * Read by the files that define handlers and, with METHODS_TABLE, by methods.c.
 */
#define METHODS_DEF "svc-auth/methods.def"
#include "common/service/methods.h"
