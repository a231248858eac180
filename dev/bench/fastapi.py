"""The stack that frontends of this kind usually have behind them, as its users write it: PyJWT, SQLModel on asyncpg, tables
made at start-up, CORSMiddleware, settings from the environment."""

import os
from contextlib import asynccontextmanager
from datetime import datetime, timezone
from typing import Annotated, Optional

import jwt
from fastapi import Depends, FastAPI, HTTPException
from fastapi.middleware.cors import CORSMiddleware
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import BigInteger, DateTime
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlmodel import Field, SQLModel, select

SECRET = os.environ["BETTER_AUTH_SECRET"]
ISSUER = os.environ["BETTER_AUTH_URL"]
engine = create_async_engine(os.environ["DATABASE_URL"], pool_size=8, max_overflow=0)
Session = async_sessionmaker(engine, expire_on_commit=False)


def now() -> datetime:
    return datetime.now(timezone.utc)


class Task(SQLModel, table=True):
    __tablename__ = "tasks"
    id: Optional[int] = Field(default=None, primary_key=True, sa_type=BigInteger)
    user_id: str = Field(index=True)
    title: str = Field(max_length=200)
    description: Optional[str] = None
    completed: bool = False
    created_at: datetime = Field(default_factory=now, sa_type=DateTime(timezone=True))
    updated_at: datetime = Field(default_factory=now, sa_type=DateTime(timezone=True))


class TaskIn(SQLModel):
    title: str = Field(min_length=1, max_length=200)
    description: Optional[str] = None


@asynccontextmanager
async def lifespan(_):
    async with engine.begin() as connection:
        await connection.run_sync(SQLModel.metadata.create_all)
    yield


app = FastAPI(lifespan=lifespan)
app.add_middleware(
    CORSMiddleware,
    allow_origins=["http://localhost:3000"],
    allow_credentials=True,
    allow_methods=["*"],
    allow_headers=["*"],
)
bearer = HTTPBearer()


def caller(credential: Annotated[HTTPAuthorizationCredentials, Depends(bearer)]) -> str:
    try:
        claims = jwt.decode(credential.credentials, SECRET, algorithms=["HS256"], issuer=ISSUER, audience=ISSUER)
        return claims["sub"]
    except jwt.PyJWTError as error:
        raise HTTPException(401, str(error)) from error


async def session():
    async with Session() as opened:
        yield opened


Caller = Annotated[str, Depends(caller)]
Database = Annotated[AsyncSession, Depends(session)]


def own(user_id: str, caller: str) -> None:
    if user_id != caller:
        raise HTTPException(403, "Not your tasks")


async def one(database: AsyncSession, caller: str, task_id: int) -> Task:
    query = select(Task).where(Task.id == task_id, Task.user_id == caller)
    task = (await database.scalars(query)).first()
    if task is None:
        raise HTTPException(404, "Task not found")
    return task


@app.get("/api/{user_id}/tasks")
async def tasks(user_id: str, caller: Caller, database: Database, limit: int = 20) -> list[Task]:
    own(user_id, caller)
    query = select(Task).where(Task.user_id == caller).order_by(Task.created_at.desc(), Task.id.desc())
    return (await database.scalars(query.limit(limit))).all()


@app.post("/api/{user_id}/tasks", status_code=201)
async def create(user_id: str, body: TaskIn, caller: Caller, database: Database) -> Task:
    own(user_id, caller)
    task = Task(user_id=caller, **body.model_dump())
    database.add(task)
    await database.commit()
    return task


@app.get("/api/{user_id}/tasks/{task_id}")
async def get(user_id: str, task_id: int, caller: Caller, database: Database) -> Task:
    own(user_id, caller)
    return await one(database, caller, task_id)


@app.patch("/api/{user_id}/tasks/{task_id}")
async def change(user_id: str, task_id: int, body: TaskIn, caller: Caller, database: Database) -> Task:
    own(user_id, caller)
    task = await one(database, caller, task_id)
    task.title, task.updated_at = body.title, now()
    await database.commit()
    return task
