"""The peer in Flask: what ours does for the same request, and not more.

It checks the token's signature and claims each time (PyJWT, HS256), asks PostgreSQL by
SQLAlchemy's ORM and caches with Flask-Caching.  What ours does beside that (limits,
revocation, request ids, metrics, idempotency) is left out, which favours it.

    python3 flask_app.py    makes its tables and a learner
    gunicorn flask_app:app   serves
"""
import datetime
import json
import os
import time

import argon2
import jwt
import sqlalchemy as sa
from flask import Flask, abort, g, jsonify, request
from flask_caching import Cache
from sqlalchemy import orm

SECRET = os.environ["SECRET"]
AUDIENCE = ISSUER = "knowalledge"
# What ours answered for each path, for what is cached and for the forms of the others.
BODIES = json.loads(os.environ["BODIES"])
# Kept open (a worker needs one at a time) and, unlike the old system's, not tested
# before each use.
engine = sa.create_engine(os.environ["DATABASE_URL"], pool_size=2)
Session = orm.sessionmaker(engine)
Base = orm.declarative_base()
# The same cost as PASSWORD_HASH_MEMORY_MB and PASSWORD_HASH_PASSES have.
hasher = argon2.PasswordHasher(time_cost=1, memory_cost=65536, parallelism=1)


class Person(Base):
    __tablename__ = "person"
    sub = sa.Column(sa.Text, primary_key=True)
    email = sa.Column(sa.Text, unique=True)
    password = sa.Column(sa.Text)
    total_xp = sa.Column(sa.BigInteger, nullable=False)
    streak_days = sa.Column(sa.BigInteger, nullable=False)
    topics = sa.Column(sa.BigInteger, nullable=False)
    quizzes = sa.Column(sa.BigInteger, nullable=False)
    active_at = sa.Column(sa.BigInteger, nullable=False)
    created_at = sa.Column(sa.BigInteger, nullable=False)
    updated_at = sa.Column(sa.BigInteger, nullable=False)


class Mastery(Base):
    __tablename__ = "mastery"
    sub = sa.Column(sa.Text, primary_key=True)
    topic = sa.Column(sa.Text, primary_key=True)
    subtopic = sa.Column(sa.Text, primary_key=True)
    level = sa.Column(sa.BigInteger, nullable=False)
    at = sa.Column(sa.BigInteger, nullable=False)


class Quiz(Base):
    __tablename__ = "quiz"
    id = sa.Column(sa.BigInteger, primary_key=True)
    sub = sa.Column(sa.Text, nullable=False)
    score = sa.Column(sa.BigInteger, nullable=False)
    total = sa.Column(sa.BigInteger, nullable=False)
    at = sa.Column(sa.BigInteger, nullable=False)


class Outbox(Base):
    __tablename__ = "outbox"
    id = sa.Column(sa.BigInteger, primary_key=True)
    body = sa.Column(sa.Text, nullable=False)


app = Flask(__name__)
redis_url = os.environ.get("REDIS_URL")
# The cache of a worker's own is the fastest that it has.
cache = Cache(app, config={"CACHE_TYPE": "RedisCache", "CACHE_REDIS_URL": redis_url,
                           "CACHE_DEFAULT_TIMEOUT": 3600}
              if redis_url else {"CACHE_TYPE": "SimpleCache", "CACHE_DEFAULT_TIMEOUT": 3600,
                                 "CACHE_THRESHOLD": 100_000})


def now_ms():
    return time.time_ns() // 1_000_000


def iso(ms):
    return datetime.datetime.utcfromtimestamp(ms / 1000).isoformat(timespec="milliseconds") + "Z"


def token_of(person):
    now = int(time.time())
    return jwt.encode({"sub": person.sub, "iss": ISSUER, "aud": AUDIENCE, "iat": now,
                       "exp": now + 86400, "role": "user", "tier": "free"},
                      SECRET, algorithm="HS256")


@app.before_request
def who():
    if request.path in ("/health", "/api/auth/login"):
        return
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    try:
        g.claims = jwt.decode(token, SECRET, algorithms=["HS256"], audience=AUDIENCE,
                              issuer=ISSUER)
    except jwt.InvalidTokenError:
        abort(401)


@app.get("/health")
def health():
    return jsonify(status="alive", timestamp=iso(now_ms()), instance_id="peer",
                   uptime_seconds=1.0)


@app.get("/api/auth/validate")
def validate():
    return jsonify(valid=True, user_id="bench", role=g.claims["role"],
                   quota_tier=g.claims["tier"], email=None, created_at=iso(0))


def cached(key):
    found = cache.get(key)
    if found is None:
        found = json.loads(BODIES[request.path])
        cache.set(key, found)
    return jsonify(found)


@app.get("/api/gamification/stats")
def stats():
    return cached("stats:" + g.claims["sub"])


@app.post("/api/create_subtopics")
def create_subtopics():
    return cached("subtopics:" + request.get_json()["topic"])


@app.get("/api/gamification/progress")
def progress():
    with Session() as s:
        p = s.get(Person, g.claims["sub"])
        return jsonify(success=True, progress={
            "user_id": "bench", "total_xp": p.total_xp, "level": 1 + p.total_xp // 100,
            "streak_days": p.streak_days, "last_activity_date": iso(p.active_at),
            "total_topics_completed": p.topics, "total_quizzes_completed": p.quizzes,
            "total_time_spent": 0, "created_at": iso(p.created_at),
            "updated_at": iso(p.updated_at)})


@app.get("/api/user/breaches")
def slow():
    with Session() as s:
        s.execute(sa.text("SELECT pg_sleep(0.2)"))
    return jsonify(breaches=[])


@app.post("/api/quiz/submit")
def submit():
    r, sub, at = request.get_json(), g.claims["sub"], now_ms()
    with Session.begin() as s:
        s.merge(Mastery(sub=sub, topic=r["topic"], subtopic=r["subtopic"], level=1, at=at))
        s.add(Quiz(sub=sub, score=r["score"], total=r["total"], at=at))
        s.add(Outbox(body=json.dumps({"sub": sub, "quiz": r})))
    return jsonify(status="success", mastery_level=1, score=r["score"], total=r["total"],
                   percent=100.0 * r["score"] / r["total"], earns_xp=True)


@app.post("/api/auth/login")
def login():
    r = request.get_json()
    with Session() as s:
        p = s.scalars(sa.select(Person).where(Person.email == r["email"])).first()
        try:
            hasher.verify(p.password if p else "", r["password"])
        except argon2.exceptions.VerificationError:
            abort(401)
        return jsonify(token=token_of(p))


def main():
    Base.metadata.create_all(engine)
    at = now_ms()
    with Session.begin() as s:
        s.add(Person(sub="0190c0de-0000-7000-8000-000000000001", email="bench@example.org",
                     password=hasher.hash(os.environ["PASSWORD"]), total_xp=180,
                     streak_days=1, topics=0, quizzes=1, active_at=at, created_at=at,
                     updated_at=at))


if __name__ == "__main__":
    main()
