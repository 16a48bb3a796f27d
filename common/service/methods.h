/*
 * methods - makes structs and tables out of a methods.def.
 *
 * A service's methods.h:
 *     #define METHODS_DEF "svc-auth/methods.def"
 *     #include "common/service/methods.h"
 * declares `struct quiz_submit_in` and method_quiz_submit() for every row.
 * One file, methods.c, defines METHODS_TABLE before including it, and also gets
 * `static const struct method methods[]`.
 */
#include "common/service/service.h"

/* The input structs. */
#define METHOD(id, name, lane, caller, again, peek) struct id##_in {
#define FIELD(id, from, type, name, need, min, max, text, num) \
	FIELD_C_##type name;
#define END(id)    \
	char end_; \
	}          \
	;
#include METHODS_DEF
#undef METHOD
#undef FIELD
#undef END

/* The handlers. */
#define METHOD(id, name, lane, caller, again, peek)                       \
	enum err method_##id(void *state, struct ctx *cx, const void *in, \
	                     struct reply *out);
#define FIELD(id, from, type, name, need, min, max, text, num)
#define END(id)
#include METHODS_DEF
#undef METHOD
#undef FIELD
#undef END

#ifdef METHODS_TABLE
#define METHOD_REQUIRED true
#define METHOD_OPTIONAL false

#define METHOD(id, name, lane, caller, again, peek) \
	static const struct field id##_fields[] = {
#define FIELD(id, from, type, name, need, min, max, text, num) \
	{#name,         FROM_##from, FIELD_##type,             \
	 METHOD_##need, min,         max,                      \
	 text,          num,         offsetof(struct id##_in, name)},
#define END(id)   \
	{         \
		0 \
	}         \
	}         \
	;
#include METHODS_DEF
#undef METHOD
#undef FIELD
#undef END

static const struct method methods[] = {
#define METHOD(id, name, lane, caller, again, peek) \
	{name,                                      \
	 LANE_##lane,                               \
	 CALL_##caller,                             \
	 AGAIN_##again,                             \
	 id##_fields,                               \
	 COUNTOF(id##_fields) - 1,                  \
	 sizeof(struct id##_in),                    \
	 method_##id,                               \
	 peek},
#define FIELD(id, from, type, name, need, min, max, text, num)
#define END(id)
#include METHODS_DEF
#undef METHOD
#undef FIELD
#undef END
};
#endif
