#ifndef BASE_ATTR_H
#define BASE_ATTR_H

#define MUST_CHECK        __attribute__((warn_unused_result))
#define PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))

/*
 * AUTO(name) declares a local that releases itself at scope exit;
 * AUTO_TYPE() teaches it a type.  STEAL() hands the value to the caller.
 */
#define AUTO_TYPE(name, type, release)                                  \
	typedef type name##_auto_type;                                  \
	static inline __attribute__((unused)) void name##_auto(type *p) \
	{                                                               \
		if (*p)                                                 \
			release(*p);                                    \
	}
#define AUTO(name) __attribute__((cleanup(name##_auto))) name##_auto_type
#define STEAL(p)                             \
	__extension__({                      \
		__typeof__(p) stolen_ = (p); \
		(p) = NULL;                  \
		stolen_;                     \
	})

#define COUNTOF(a) (sizeof(a) / sizeof((a)[0]))

#endif
