/** A program of its own that exchanges files, and is killed on the way where `KILLED_AT` says so. */
import { dieAtFileOperation } from '../fixtures/meddlingFiles';
import { exchangeAndLetGo, type Ground } from './exchanges';

dieAtFileOperation();
await exchangeAndLetGo(JSON.parse(process.argv[2] ?? '') as Ground);
