// amqplib, the AMQP client of Node. test_amqplib.py runs each of these tests in a process of its
// own; BROKER is the broker's URL.

const assert = require('node:assert/strict');
const { randomUUID } = require('node:crypto');
const { once } = require('node:events');
const { afterEach, beforeEach, test } = require('node:test');

const amqp = require('amqplib');

const url = process.env.BROKER;

let connection;
let channel;
let names;
let connections;

beforeEach(async () => {
  names = [];
  connections = [];
  connection = await connect();
  channel = await connection.createChannel();
});

afterEach(async () => {
  // Those that the test has closed refuse to be closed again.
  for (const each of connections) await each.close().catch(() => {});
  const janitor = await amqp.connect(url);
  const cleaning = await janitor.createChannel();
  for (const name of names) {
    await cleaning.deleteQueue(name);
    await cleaning.deleteExchange(name);
  }
  await janitor.close();
});

async function connect(options = {}, query = '') {
  connections.push(await amqp.connect(url + query, options));
  return connections.at(-1);
}

// A name that no other test has; what is declared under it is deleted afterwards.
function unique(word) {
  names.push(`${word}-${randomUUID().slice(-12)}`);
  return names.at(-1);
}

async function serverNamedQueue() {
  return (await channel.assertQueue('', { exclusive: true })).queue;
}

// The bodies waiting in a queue, taken off it.
async function empty(queue) {
  const bodies = [];
  for (let message; (message = await channel.get(queue, { noAck: true })); ) {
    bodies.push(message.content.toString());
  }
  return bodies;
}

// The next `count` deliveries of a new consumer, unacknowledged.
function take(consuming, queue, count) {
  return new Promise((resolve, reject) => {
    const messages = [];
    const onMessage = (message) => {
      messages.push(message);
      if (messages.length === count) resolve(messages);
    };
    consuming.consume(queue, onMessage).catch(reject);
  });
}

const bodies = (messages) => messages.map((message) => message.content.toString());

test('connection and channel open and close', async () => {
  await channel.close();
  const closed = once(connection, 'close');
  await connection.close();
  await closed;
});

test('login succeeds with AMQPLAIN', async () => {
  const { username, password } = new URL(url);
  const credentials = amqp.credentials.amqplain(username, password);
  await connect({ credentials });
});

test('wrong password is refused with 403', async () => {
  const credentials = amqp.credentials.plain('guest', 'wrong');
  await assert.rejects(
    connect({ credentials }),
    /403 \(ACCESS-REFUSED\) with message "ACCESS_REFUSED - Login was refused/,
  );
});

test('server introduces itself as RabbitMQ', async () => {
  const properties = connection.connection.serverProperties;
  assert.equal(properties.product, 'RabbitMQ');
  for (const capability of ['basic.nack', 'publisher_confirms', 'consumer_cancel_notify']) {
    assert.equal(properties.capabilities[capability], true);
  }
});

test('smallest frame size is negotiated and bodies are cut to it', async () => {
  const small = await connect({}, '?frameMax=4096');
  const sending = await small.createChannel();
  const { queue } = await sending.assertQueue('', { exclusive: true });
  for (const size of [4087, 4088, 4089, 100_000]) {
    const body = Buffer.alloc(size, 'abc');
    sending.sendToQueue(queue, body);
    assert.deepEqual((await sending.get(queue)).content, body);
  }
});

test('message with properties is published and got', async () => {
  const queue = await serverNamedQueue();
  const sent = {
    contentType: 'text/plain',
    contentEncoding: 'utf-8',
    headers: { text: 'grüße', list: [1, 'two', { three: true }], nothing: null, half: 2.5 },
    deliveryMode: 2,
    priority: 3,
    correlationId: 'correlation',
    replyTo: 'somewhere',
    messageId: 'message',
    timestamp: 1709210000,
    type: 'type',
    userId: 'guest',
    appId: 'interop',
  };
  channel.sendToQueue(queue, Buffer.from('body'), sent);
  const message = await channel.get(queue, { noAck: true });
  assert.equal(message.content.toString(), 'body');
  const received = Object.entries(message.properties).filter(([, value]) => value !== undefined);
  assert.deepEqual(Object.fromEntries(received), sent);
  const { exchange, routingKey, redelivered, messageCount } = message.fields;
  assert.deepEqual([exchange, routingKey, redelivered, messageCount], ['', queue, false, 0]);
});

test('headers of every wire type arrive with their values', async () => {
  const queue = await serverNamedQueue();
  const types = {
    int8: -5, uint8: 200, int16: -30000, uint16: 60000, int32: -2000000000, uint32: 4000000000,
    int64: 2 ** 45, float: 0.5, double: 1.1, timestamp: 1709210000,
  };
  const headers = { bytes: Buffer.from([0, 255]), no: false };
  for (const [type, value] of Object.entries(types)) headers[type] = { '!': type, value };
  headers.decimal = { '!': 'decimal', value: { digits: 314, places: 2 } };
  channel.sendToQueue(queue, Buffer.from(''), { headers });
  const received = (await channel.get(queue, { noAck: true })).properties.headers;
  for (const [type, value] of Object.entries(types)) {
    const arrived = type === 'timestamp' ? received[type].value : received[type];
    assert.equal(arrived, value, type);
  }
  assert.deepEqual(received.decimal.value, { digits: 314, places: 2 });
  assert.deepEqual([received.bytes, received.no], [Buffer.from([0, 255]), false]);
});

test('get from an empty queue gives false', async () => {
  assert.equal(await channel.get(await serverNamedQueue()), false);
});

test('body of 4 megabytes arrives', async () => {
  const queue = await serverNamedQueue();
  const body = Buffer.alloc(4 << 20, 'leveret');
  channel.sendToQueue(queue, body);
  assert.deepEqual((await channel.get(queue, { noAck: true })).content, body);
});

test('consumer gets messages in order within its prefetch', async () => {
  const queue = await serverNamedQueue();
  for (let number = 0; number < 5; number++) channel.sendToQueue(queue, Buffer.from(`${number}`));
  await channel.prefetch(2);
  const received = [];
  await new Promise((resolve, reject) => {
    let unacked = 0;
    const onMessage = (message) => {
      received.push(message.content.toString());
      unacked += 1;
      if (unacked > 2) reject(new Error('more than the prefetch'));
      if (unacked === 2 || received.length === 5) {
        unacked = 0;
        channel.ack(message, true);
      }
      if (received.length === 5) resolve();
    };
    channel.consume(queue, onMessage).catch(reject);
  });
  assert.deepEqual(received, ['0', '1', '2', '3', '4']);
});

test('requeued messages keep their order', async () => {
  const queue = await serverNamedQueue();
  for (let number = 0; number < 4; number++) channel.sendToQueue(queue, Buffer.from(`${number}`));
  const first = [await channel.get(queue), await channel.get(queue), await channel.get(queue)];
  channel.reject(first[0], true);
  channel.nack(first[2], true, true);
  const again = [];
  for (let number = 0; number < 4; number++) again.push(await channel.get(queue));
  assert.deepEqual(bodies(again), ['0', '1', '2', '3']);
  assert.deepEqual(again.map((message) => message.fields.redelivered), [true, true, true, false]);
});

test('nackAll without requeue drops and recover requeues', async () => {
  const queue = await serverNamedQueue();
  channel.sendToQueue(queue, Buffer.from('dropped'));
  channel.sendToQueue(queue, Buffer.from('kept'));
  await channel.get(queue);
  channel.nackAll(false);
  await channel.get(queue);
  await channel.recover();
  assert.deepEqual(await empty(queue), ['kept']);
});

test('unacked messages of a closed channel come again', async () => {
  const queue = await serverNamedQueue();
  for (const body of ['1', '2', '3']) channel.sendToQueue(queue, Buffer.from(body));
  const closing = await connection.createChannel();
  closing.ack((await take(closing, queue, 3))[0]);
  await closing.close();
  const again = await take(channel, queue, 2);
  assert.deepEqual(bodies(again), ['2', '3']);
  assert.ok(again.every((message) => message.fields.redelivered));
});

test('cancelled consumer gets nothing more', async () => {
  const queue = await serverNamedQueue();
  const { consumerTag } = await channel.consume(queue, () => assert.fail('cancelled'));
  assert.equal((await channel.cancel(consumerTag)).consumerTag, consumerTag);
  channel.sendToQueue(queue, Buffer.from('left'));
  assert.equal((await channel.checkQueue(queue)).messageCount, 1);
  assert.equal((await channel.checkQueue(queue)).consumerCount, 0);
});

test('consumer is called with null when its queue is deleted', async () => {
  const queue = await serverNamedQueue();
  const [message] = await Promise.all([
    take(channel, queue, 1).then((messages) => messages[0]),
    connection.createChannel().then((deleting) => deleting.deleteQueue(queue)),
  ]);
  assert.equal(message, null);
});

test('direct, fanout, topic and headers exchanges route', async () => {
  const queue = await serverNamedQueue();
  const routes = {
    direct: { pattern: 'key', key: 'key' },
    fanout: { pattern: '', key: 'whatever' },
    topic: { pattern: 'a.*.#', key: 'a.b.c' },
    headers: { pattern: '', args: { 'x-match': 'any', a: 1, b: 2 }, key: '', headers: { b: 2 } },
  };
  for (const [type, { pattern, args, key, headers }] of Object.entries(routes)) {
    const { exchange } = await channel.assertExchange(unique(type), type, { durable: false });
    await channel.bindQueue(queue, exchange, pattern, args);
    channel.publish(exchange, key, Buffer.from(type), { headers });
    if (type !== 'fanout') channel.publish(exchange, 'other', Buffer.from('no'));
    await channel.unbindQueue(queue, exchange, pattern, args);
    channel.publish(exchange, key, Buffer.from('no'), { headers });
  }
  assert.deepEqual(await empty(queue), Object.keys(routes));
});

test('exchanges are bound and unbound', async () => {
  const queue = await serverNamedQueue();
  const source = unique('source');
  const destination = unique('destination');
  await channel.assertExchange(source, 'direct');
  await channel.assertExchange(destination, 'fanout');
  await channel.bindExchange(destination, source, 'key');
  await channel.bindQueue(queue, destination, '');
  channel.publish(source, 'key', Buffer.from('through both'));
  await channel.unbindExchange(destination, source, 'key');
  channel.publish(source, 'key', Buffer.from('no'));
  assert.deepEqual(await empty(queue), ['through both']);
});

test('alternate exchange gets what is not routed', async () => {
  const queue = await serverNamedQueue();
  const alternateExchange = unique('alternate');
  const exchange = unique('exchange');
  await channel.assertExchange(alternateExchange, 'fanout');
  await channel.assertExchange(exchange, 'direct', { alternateExchange });
  await channel.bindQueue(queue, alternateExchange, '');
  channel.publish(exchange, 'nowhere', Buffer.from('unrouted'));
  assert.deepEqual(await empty(queue), ['unrouted']);
});

test('cc and bcc add routing keys', async () => {
  const queues = [await serverNamedQueue(), await serverNamedQueue(), await serverNamedQueue()];
  channel.sendToQueue(queues[0], Buffer.from('copies'), { CC: queues[1], BCC: [queues[2]] });
  for (const queue of queues) {
    const message = await channel.get(queue, { noAck: true });
    assert.deepEqual(message.properties.headers, { CC: [queues[1]] });
    assert.equal(message.fields.routingKey, queues[0]);
  }
});

test('unroutable mandatory message is returned', async () => {
  const returned = once(channel, 'return');
  channel.publish('', unique('nowhere'), Buffer.from('body'), { mandatory: true });
  const [message] = await returned;
  assert.equal(message.fields.replyCode, 312);
  assert.equal(message.fields.replyText, 'NO_ROUTE');
  assert.equal(message.content.toString(), 'body');
});

test('thousand publishes in flight are confirmed', async () => {
  const confirming = await connection.createConfirmChannel();
  const queue = await serverNamedQueue();
  for (let number = 0; number < 1000; number++) confirming.sendToQueue(queue, Buffer.from('body'));
  await confirming.waitForConfirms();
  assert.equal((await channel.checkQueue(queue)).messageCount, 1000);
});

test('purge and delete count messages', async () => {
  const queue = await serverNamedQueue();
  for (let number = 0; number < 3; number++) channel.sendToQueue(queue, Buffer.from('body'));
  assert.deepEqual(await channel.purgeQueue(queue), { messageCount: 3 });
  channel.sendToQueue(queue, Buffer.from('body'));
  assert.deepEqual(await channel.deleteQueue(queue), { messageCount: 1 });
});

test('missing queue closes the channel with 404', async () => {
  const queue = unique('missing');
  const failed = once(channel, 'error');
  await assert.rejects(channel.checkQueue(queue), (error) => {
    assert.equal(error.code, 404);
    assert.ok(error.message.includes(`NOT_FOUND - no queue '${queue}' in vhost '/'`));
    return true;
  });
  const [error] = await failed;
  assert.deepEqual([error.code, error.classId, error.methodId], [404, 50, 10]);
  assert.ok(await connection.createChannel());
});

test('redeclaring otherwise closes the channel with 406', async () => {
  const queue = unique('queue');
  await channel.assertQueue(queue, { durable: false });
  channel.on('error', () => {});
  await assert.rejects(
    channel.assertQueue(queue, { durable: true }),
    /406 .*inequivalent arg 'durable' .* received 'true' but current is 'false'/,
  );
});

test('exclusive queue of another connection is locked', async () => {
  const queue = unique('exclusive');
  const other = await connect();
  await (await other.createChannel()).assertQueue(queue, { exclusive: true });
  channel.on('error', () => {});
  await assert.rejects(channel.checkQueue(queue), /405 .*RESOURCE_LOCKED - cannot obtain excl/);
});

test('exclusive consumer keeps others out', async () => {
  const queue = await serverNamedQueue();
  await channel.consume(queue, () => {}, { exclusive: true });
  const other = await connection.createChannel();
  other.on('error', () => {});
  await assert.rejects(other.consume(queue, () => {}), /403 .*in exclusive use/);
});

test('unknown exchange type closes the connection with 503', async () => {
  const failed = once(connection, 'error');
  await assert.rejects(channel.assertExchange(unique('exchange'), 'x-no-such-type'));
  const [error] = await failed;
  assert.equal(error.code, 503);
  assert.match(error.message, /COMMAND_INVALID - unknown exchange type 'x-no-such-type'/);
});

test('direct reply-to answers a question', async () => {
  const queue = await serverNamedQueue();
  const replyTo = 'amq.rabbitmq.reply-to';
  const answered = new Promise((resolve) => {
    channel.consume(replyTo, resolve, { noAck: true });
  });
  channel.sendToQueue(queue, Buffer.from('question'), { replyTo, correlationId: '42' });
  const question = await channel.get(queue, { noAck: true });
  const { replyTo: address, correlationId } = question.properties;
  channel.sendToQueue(address, Buffer.from('answer'), { correlationId });
  const answer = await answered;
  assert.equal(answer.content.toString(), 'answer');
  assert.equal(answer.properties.correlationId, '42');
});

test('hundred channels work side by side', async () => {
  const queue = await serverNamedQueue();
  const opening = Array.from({ length: 100 }, () => connection.createConfirmChannel());
  for (const each of await Promise.all(opening)) {
    each.sendToQueue(queue, Buffer.from('body'));
    await each.waitForConfirms();
  }
  assert.equal((await channel.checkQueue(queue)).messageCount, 100);
});

test('secret can be updated', async () => {
  await connection.updateSecret(Buffer.from('guest'), 'rotated');
});

test('idle connection stays open by heartbeats', async () => {
  const idle = await connect({}, '?heartbeat=1');
  await new Promise((resolve) => setTimeout(resolve, 3500));
  await idle.createChannel();
});

test('connection is recovered after it was cut', async () => {
  const queue = unique('queue');
  const models = [];
  const recovering = await connect({
    recovery: { initialDelay: 20, setup: (model) => models.push(model) },
  });
  const lost = [];
  recovering.on('error', (error) => lost.push(error.message));
  const before = await recovering.createConfirmChannel();
  await before.assertQueue(queue, { durable: false });
  before.sendToQueue(queue, Buffer.from('kept'));
  await before.waitForConfirms();
  const reconnected = new Promise((resolve) => recovering.once('connect', resolve));
  models[0].connection.stream.destroy(new Error('cut'));
  await reconnected;
  const after = await recovering.createChannel();
  assert.equal((await after.get(queue, { noAck: true })).content.toString(), 'kept');
  assert.deepEqual([lost, models.length], [['cut'], 2]);
});
