import instructor
from pydantic import BaseModel

import pandaprobe_otel

pandaprobe_otel.init()


class Order(BaseModel):
    """An order of the shop."""

    parcel: str
    city: str


client = instructor.from_provider("openai/gpt-5-mini")
question = "Parcel P-4711 goes to Oslo."
print(client.create(response_model=Order, messages=[{"role": "user", "content": question}]))
