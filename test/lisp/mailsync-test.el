;;; mailsync-test.el --- The whole path from a Maildir to the hooks  -*- lexical-binding: t -*-

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; With the real module and a real file system, without Gnus.

;;; Code:

(require 'mailsync-test-helper)

;;;; Changes

(ert-deftest mailsync-test-kinds ()
  "What happens in a folder is told, by its kind, with its directory."
  (test-with-mailsync '("" ".a.b") nil
    (let* ((folder (concat root "/.a.b"))
           (cur (concat folder "/cur/")))
      (test-watching "w")
      (test-deliver folder)
      (let ((change (test-wait (lambda () (test-changed "a/b")))))
        (should (equal (seq-take change 12)
                       (list :account "w" :folder "a/b" :directory folder
                             :truename folder :kinds '(new)
                             :origins '(local)))))
      (should-not (test-changed "INBOX"))
      (let* ((message (car (directory-files (concat folder "/new") t "test")))
             (base (file-name-nondirectory message)))
        (dolist (step '((":2," (flags) (flags)) (":2,S" (flags) nil) (nil (gone) nil)))
          (setq test-changes nil)
          (let ((next (and (car step) (concat cur base (car step)))))
            (if next (rename-file message next) (delete-file message))
            (setq message next))
          (let ((change (test-wait (lambda () (test-changed "a/b")))))
            (should (equal (list (plist-get change :kinds) (plist-get change :quiet))
                           (cdr step))))))
      (setq test-changes nil)
      (test-deliver root)
      (should (test-wait (lambda () (test-changed "INBOX" 'new)))))))

(defun test-folders ()
  "How many folders the engine knows."
  (let ((accounts (plist-get (mailsync-module--status) :accounts)))
    (apply #'+ (mapcar (lambda (root) (plist-get root :folders))
                       (apply #'append
                              (mapcar (lambda (account) (plist-get account :roots))
                                      accounts))))))

(ert-deftest mailsync-test-folders-come-and-go ()
  "Folders made, renamed and removed while running are told; mail in a new one at once."
  (test-with-mailsync '("") nil
    (test-watching "w")
    (let ((a (concat root "/.a")) (c (concat root "/.c")))
      (test-maildir a)
      (test-deliver a)
      (test-wait (lambda () (test-changed "a" 'folder-created)))
      (should (test-changed "a" 'new))
      (setq test-changes nil)
      (rename-file a c)
      (test-wait (lambda () (and (test-changed "a" 'folder-deleted)
                                 (test-changed "c" 'folder-created))))
      (setq test-changes nil)
      (test-deliver c)
      (test-wait (lambda () (test-changed "c" 'new)))
      (should-not (test-changed "a"))
      (setq test-changes nil)
      (delete-directory c t)
      (test-wait (lambda () (test-changed "c" 'folder-deleted)))
      ;; Made again under the same name, perhaps on the same inode.
      (setq test-changes nil)
      (test-maildir c)
      (test-wait (lambda () (test-changed "c" 'folder-created)))
      (setq test-changes nil)
      (test-deliver c)
      (test-wait (lambda () (test-changed "c" 'new))))))

(ert-deftest mailsync-test-odd-names ()
  "Any name that a file system takes is told, and is the file's name again."
  (test-with-mailsync nil `(("w" :maildir ,root :layout nested))
    (let* ((names (list "with space" "new\nline" "quote\"d" "percent%s%n" "semi;colon"
                        "a&b" "&AOk-&AOk-" "Entw&APw-rfe" "R&-D" "日本語" "a.b"
                        (apply #'string (append "raw" (mapcar #'unibyte-char-to-multibyte
                                                              '(#xff #xfe))))
                        (make-string 255 ?x)))
           (canonical '(("Entw&APw-rfe" . "Entwürfe") ("R&-D" . "R&D")))
           (directories (mapcar (lambda (name)
                                  (test-maildir (concat root "/" name)))
                                names)))
      (test-wait (lambda () (= (length names) (test-folders))))
      (test-watching "w")
      (seq-mapn
       (lambda (name directory)
         (ert-info (name :prefix "Name: ")
           (setq test-changes nil)
           (test-deliver directory)
           (let ((change (test-wait
                          (lambda ()
                            (test-changed (alist-get name canonical name nil #'equal)
                                          'new)))))
             (should (equal (plist-get change :directory) directory))
             (should (file-directory-p (plist-get change :directory))))))
       names directories))))

(ert-deftest mailsync-test-merge ()
  "Changes merge as DESIGN's vocabulary has it."
  (dolist (row '(((new) (flags) (new flags))
                 ((new) (new) (new))
                 ((folder-created) (folder-deleted) (unknown folder-deleted))
                 ((folder-deleted) (folder-created new) (unknown folder-created new))))
    (let ((merged (mailsync-change-merge
                   (list :folder "a" :kinds (nth 0 row) :origins '(local)
                         :serial 3 :seen 10.5)
                   (list :folder "a" :kinds (nth 1 row) :origins '(sync)
                         :serial 4 :seen 11.0))))
      (should (equal (plist-get merged :kinds) (nth 2 row)))
      (should-not (plist-get merged :quiet))
      (should (equal (plist-get merged :origins) '(local sync)))
      (should (= (plist-get merged :serial) 4))
      (should (= (plist-get merged :seen) 10.5))))
  ;; The letters of two, and what a reader's look explains in both.
  (dolist (row '(("F" "F" (flags) (flags))
                 ("nF" "F" (new flags) (flags))
                 ("F" "f" (flags) nil)
                 ("nf" "F" (new flags) nil)
                 ("cF" "d" (unknown flags folder-deleted) (flags))))
    (ert-info ((format "%S" row))
      (let ((merged (apply #'mailsync-change-merge
                           (mapcar (lambda (letters)
                                     (mailsync-change-read
                                      (list "change" "w" "a" "/m/a" "" letters "l" "1" "0")))
                                   (seq-take row 2)))))
        (should (equal (plist-get merged :kinds) (nth 2 row)))
        (should (equal (plist-get merged :quiet) (nth 3 row)))))))

;;;; Accounts

(ert-deftest mailsync-test-spelling ()
  "A root that is a symbolic link is told as the user spells it."
  (test-with-mailsync '("real") `(("w" :maildir ,(concat root "/link")))
    (make-symbolic-link "real" (concat root "/link"))
    (mailsync-restart)
    (test-watching "w")
    (test-deliver (concat root "/real"))
    (let ((change (test-wait (lambda () (test-changed "INBOX" 'new)))))
      (should (equal (plist-get change :directory) (concat root "/link")))
      (should (equal (plist-get change :truename) (concat root "/real"))))))

(ert-deftest mailsync-test-bad-directories ()
  "A directory that is missing, or a file, is said once; the others are watched."
  (test-with-mailsync '("good")
      `(("missing" :maildir ,(concat root "/no"))
        ("file" :maildir ,(concat root "/file"))
        ("good" :maildir ,(concat root "/good")))
    (write-region "" nil (concat root "/file") nil 'silent)
    (mailsync-restart)
    (test-watching "good")
    (test-wait (lambda () (and (memq (test-state "missing") '(waiting error))
                               (memq (test-state "file") '(waiting error)))))
    (should (string-match-p "account \"missing\": .*/no.*:maildir" (test-log)))
    (should (string-match-p "account \"file\": .*/file.*not a directory" (test-log)))
    (test-deliver (concat root "/good"))
    (test-wait (lambda () (test-changed "INBOX" 'new)))))

(ert-deftest mailsync-test-same-and-nested-roots ()
  "One directory twice is an error of the second; of nested ones the longest wins."
  (test-with-mailsync '("" "out" "in/x")
      `(("outer" :maildir ,root)
        ("inner" :maildir ,(concat root "/in"))
        ("again" :maildir ,(concat root "/in/")))
    (test-watching "outer")
    (test-wait (lambda () (memq 'error (list (test-state "inner") (test-state "again")))))
    (should (string-match-p "is the same directory as .*mailsync-accounts" (test-log)))
    (test-wait (lambda () (= 3 (test-folders))))
    (setq test-changes nil)
    (test-deliver (concat root "/in/x"))
    (test-deliver (concat root "/out"))
    (let ((change (test-wait (lambda () (test-changed "x" 'new)))))
      (should (member (plist-get change :account) '("inner" "again"))))
    (test-wait (lambda () (test-changed "out" 'new)))
    (should-not (test-changed "in/x"))
    (should-not (test-changed "x" 'folder-deleted))))

;;;; The pipe, and an Emacs that is busy

(ert-deftest mailsync-test-broken-pipe ()
  "After the pipe breaks another one is made and every folder is in doubt."
  (test-with-mailsync '("" ".a") nil
    (test-watching "w")
    (dolist (break (list (lambda () (delete-process mailsync--pipe))
                         (lambda () (mailsync-pipe--filter mailsync--pipe "garbage\n"))))
      (setq test-changes nil mailsync--breaks nil)
      (test-deliver (concat root "/.a"))
      (funcall break)
      (test-wait (lambda () (and (test-changed "INBOX" 'unknown)
                                 (test-changed "a" 'unknown))))
      (setq test-changes nil)
      (test-deliver root)
      (test-wait (lambda () (test-changed "INBOX" 'new))))))

(ert-deftest mailsync-test-broken-for-ever ()
  "A pipe that breaks all the time ends in an error state, not in a loop."
  (test-with-mailsync '("") nil
    (test-watching "w")
    (dotimes (_ 3)
      (let ((pipe (test-wait (lambda () (and (process-live-p mailsync--pipe)
                                             mailsync--pipe)))))
        (delete-process pipe)
        (test-wait (lambda () (or (eq (test-state "w") 'error)
                                  (not (eq pipe mailsync--pipe)))))))
    (should (eq (test-state "w") 'error))
    (should (string-match-p "mailsync-restart" (test-log)))
    (mailsync-restart)
    (test-watching "w")))

(ert-deftest mailsync-test-busy ()
  "While Emacs is busy the changes wait, each folder once, and nothing is lost."
  (test-with-mailsync nil nil
    (let* ((count 3000)
           (names (mapcar (lambda (i) (format "%s%04d" (make-string 60 ?f) i))
                          (number-sequence 1 count)))
           (seen (make-hash-table :test #'equal)))
      (dolist (name names)
        (test-maildir (concat root "/." name)))
      (mailsync-restart)
      (test-watching "w")
      (let ((default-directory (file-name-as-directory root)))
        (start-process "delivery" nil "python3" "-c" "
import os, sys
folders = sorted(name for name in os.listdir('.') if name.startswith('.f'))
for i in range(10000):
    tmp = folders[i % len(folders)] + '/tmp/%d' % i
    open(tmp, 'w').close()
    os.rename(tmp, tmp.replace('tmp', 'new'))
open('done', 'w').close()"))
      ;; Nothing here reads from a process: Emacs is as busy as it can be.
      (let ((least (+ (float-time) 10))
            (most (+ (float-time) 120)))
        (while (or (< (float-time) least)
                   (and (< (float-time) most)
                        (not (file-exists-p (concat root "/done")))))))
      (should (file-exists-p (concat root "/done")))
      (should-not test-changes)
      (let ((status (mailsync-module--status)))
        (should (plist-get status :in-flight))
        (should (<= (plist-get status :held) (* 2 count))))
      (test-wait (lambda ()
                   (clrhash seen)
                   (dolist (change test-changes)
                     (cl-incf (gethash (plist-get change :folder) seen 0)))
                   (= count (hash-table-count seen)))
                 60)
      (test-wait (lambda () (let ((status (mailsync-module--status)))
                              (and (zerop (plist-get status :held))
                                   (not (plist-get status :in-flight))))))
      ;; Once in the frame that was in the pipe already, once in what came after it.
      (let ((twice 0))
        (maphash (lambda (_ times)
                   (should (<= times 2))
                   (when (= times 2) (cl-incf twice)))
                 seen)
        (should (< twice (/ count 2)))))))

;;;; Hooks

(ert-deftest mailsync-test-hook-that-signals ()
  "A function that signals is reported once and stops neither hooks nor stream."
  (test-with-mailsync '("") nil
    (test-watching "w")
    (let ((mailsync-changed-functions
           (list (lambda (&rest _) (error "On purpose")) #'test-note-changes)))
      (dotimes (_ 3)
        (setq test-changes nil)
        (test-deliver root)
        (test-wait (lambda () (test-changed "INBOX" 'new)))))
    (let ((log (test-log)))
      (should (string-match "On purpose" log))
      (should-not (string-match "On purpose" log (match-end 0))))))

(ert-deftest mailsync-test-hook-that-is-quit ()
  "C-g ends the function that it meets, and nothing else."
  (test-with-mailsync '("") nil
    (test-watching "w")
    (let ((mailsync-changed-functions
           (list (lambda (&rest _)
                   (should-not inhibit-quit)
                   (setq quit-flag t)
                   (while t))
                 #'test-note-changes)))
      (dotimes (_ 2)
        (setq test-changes nil)
        (test-deliver root)
        (test-wait (lambda () (test-changed "INBOX" 'new)))
        (should-not quit-flag)))
    (should (string-match-p "was quit" (test-log)))))

;; What C-g can end though quitting is inhibited, when it is typed three times.
(ert-deftest mailsync-test-quit-of-the-sentinel ()
  "That the pipe was deleted is seen after a quit, if that has ended what would have seen it."
  (test-with-mailsync '("") nil
    (test-watching "w")
    (let ((pipe mailsync--pipe))
      (set-process-sentinel pipe #'ignore)
      (delete-process pipe)
      (test-deliver root)
      (test-wait-for 0.1)
      (should (eq pipe mailsync--pipe))
      (mailsync--mend)
      (test-wait (lambda () (test-changed "INBOX" 'new)))
      (should (process-live-p mailsync--pipe)))))

(ert-deftest mailsync-test-quit-of-the-mending ()
  "What is mended after a quit is mended later if another quit ends that, and else once."
  (let ((mailsync--quit-pause 0.05)
        (times 0)
        (quits nil))
    (cl-letf (((symbol-function 'mailsync--mend)
               (lambda ()
                 (setq times (1+ times))
                 (when (pop quits)
                   (signal 'quit nil)))))
      (mailsync--quit '(quit))
      (test-wait-for 0.2)
      (should (= times 1))
      (setq quits '(t))
      (condition-case nil
          (mailsync--quit '(quit))
        (quit nil))
      (test-wait (lambda () (= times 3)))
      (mailsync--quit '(error "No quit"))
      (should (= times 3)))))

(ert-deftest mailsync-test-quit-in-the-middle ()
  "What a quit has left miscounted is counted anew, and a check that it kept from being asked for is."
  (test-with-mailsync '("") nil
    (let* (calls
           (mailsync--quit-pause 0.05)
           (mailsync-check-function (lambda (&rest args) (push args calls))))
      (test-watching "w")
      (test-wait (lambda () calls))
      (funcall (nth 2 (pop calls)) nil)
      (should (= 0 (mailsync--pending)))
      (puthash '("w" . "/gone") -1 mailsync--unchecked)
      (mailsync--mend)
      (should (= 0 (mailsync--pending)))
      (let ((batch '("w" (:account "w" :folder "INBOX" :truename "/x" :serial 1))))
        (puthash batch 'waits mailsync--batches)
        (mailsync--mend)
        (should (= 1 (mailsync--pending)))
        (let ((call (test-wait (lambda () (pop calls)))))
          (should (equal (nth 1 call) (cdr batch)))
          ;; It is asked for once, as long as nobody answers.
          (mailsync--mend)
          (test-wait-for 0.15)
          (should-not calls)
          (funcall (nth 2 call) nil)))
      (should (= 0 (mailsync--pending))))))

(ert-deftest mailsync-test-check-function ()
  "The check function gets the changes; its answer ends what is pending, its error too."
  (test-with-mailsync '("") nil
    (let* (calls brought
           (mailsync-new-mail-functions (list (lambda (&rest args) (push args brought))))
           (mailsync-check-function (lambda (&rest args) (push args calls))))
      (test-watching "w")
      ;; At the start everything is checked.
      (test-wait (lambda () calls))
      (funcall (nth 2 (pop calls)) '(("INBOX" . checked)))
      (test-deliver root)
      (pcase-let ((`(,account (,change) ,done) (test-wait (lambda () (pop calls)))))
        (should (equal account "w"))
        (should (equal (plist-get change :kinds) '(new)))
        (should (= 1 (mailsync--pending)))
        (should (string-match-p "1 pending" mailsync-mode-line--string))
        (funcall done '(("INBOX" . checked)) (list change))
        (should (= 0 (mailsync--pending)))
        (should (string-match-p "watching" mailsync-mode-line--string))
        ;; Once is enough.
        (funcall done '(("INBOX" . checked)) (list change))
        (should (equal brought `(("w" (,change))))))
      (setq mailsync-check-function (lambda (&rest _) (error "No check")))
      (setq test-changes nil)
      (test-deliver root)
      (test-wait (lambda () (test-changed "INBOX" 'new)))
      (should (= 0 (mailsync--pending)))
      (should (string-match-p "mailsync-check-function.*No check" (test-log))))))

(ert-deftest mailsync-test-states ()
  "The state hooks run once a state, in order."
  (let* (states started)
    (let ((mailsync-state-change-functions
           (list (lambda (account state) (push (cons account state) states))))
          (mailsync-started-functions (list (lambda (account) (push account started)))))
      (test-with-mailsync '("") nil
        (test-watching "w")
        (should (equal states '(("w" . watching))))
        (should (equal started '("w")))))))

(ert-deftest mailsync-test-resolve ()
  "Names are resolved in the background; what does not exist is left out."
  (test-with-mailsync '("") nil
    (let* ((names (mapcar (lambda (i)
                            (let ((link (format "%s/link%s%d" root (make-string 100 ?x) i)))
                              (make-symbolic-link root link)
                              link))
                          (number-sequence 1 200)))
           answer)
      (mailsync--resolve "slot" '("/replaced") (lambda (_) (setq answer 'wrong)))
      (mailsync--resolve "slot" (cons "/nonexistent" names)
                         (lambda (alist) (setq answer alist)))
      (test-wait (lambda () answer))
      (should (= (length answer) (length names)))
      (dolist (name names)
        (should (equal (cdr (assoc name answer)) root))))))

;;;; Start and stop

(ert-deftest mailsync-test-hundred-starts ()
  "Starting and stopping a hundred times leaks nothing."
  (skip-unless (file-directory-p "/proc/self/fdinfo"))
  (test-with-mailsync '("" "v/x") `(("w" :maildir ,root) ("v" :maildir ,(concat root "/v")))
    (test-watching "w" "v")
    (should (test-threads))
    (mailsync-mode -1)
    (test-wait (lambda () (not (test-threads))))
    (let ((before (test-holdings)))
      (dotimes (i 100)
        (mailsync-start)
        (mailsync-start)
        (when (zerop (% i 10))
          (test-watching "w" "v")
          (test-deliver root)
          (test-wait (lambda () (test-changed "INBOX" 'new))))
        (mailsync-stop)
        (mailsync-stop))
      (garbage-collect)
      (test-wait (lambda () (equal before (test-holdings)))))))

(ert-deftest mailsync-test-on-twice ()
  "Turning the mode on again, as .gnus.el does, changes nothing."
  (test-with-mailsync '("") nil
    (test-watching "w")
    (let ((before (process-list)))
      (mailsync-mode 1)
      (should mailsync-mode)
      (should (equal before (process-list))))
    (test-deliver root)
    (test-wait (lambda () (test-changed "INBOX" 'new)))))

(ert-deftest mailsync-test-hook-that-restarts ()
  "A hook may stop and start mailsync; what it did not see is checked."
  (test-with-mailsync '("") nil
    (test-watching "w")
    (let* ((restarted nil)
           (mailsync-changed-functions
            (list (lambda (&rest _)
                    (unless restarted
                      (setq restarted t)
                      (mailsync-restart)))
                  #'test-note-changes)))
      (test-deliver root)
      (test-wait (lambda () restarted))
      (should (zerop (mailsync--pending)))
      (test-watching "w")
      (test-deliver root)
      (test-wait (lambda () (test-changed "INBOX" 'new))))))

(ert-deftest mailsync-test-callback-that-signals ()
  "An error while one message is seen to loses none of the others."
  (test-with-mailsync '("") nil
    (test-watching "w")
    (mailsync--resolve "slot" (list root) (lambda (_) (error "On purpose")))
    (test-deliver root)
    ;; Both are here when the timer runs.
    (let ((end (+ (float-time) 0.3)))
      (while (< (float-time) end)))
    (test-wait (lambda () (test-changed "INBOX" 'new)))
    (should (string-match-p "internal error.*On purpose" (test-log)))))

(ert-deftest mailsync-test-stop-takes-its-functions-away ()
  "After a stop nothing of ours is in a hook of Emacs."
  (let ((hooks (lambda ()
                 (list kill-emacs-hook suspend-hook suspend-resume-hook
                       command-error-function))))
    (let ((before (funcall hooks)))
      (test-with-mailsync '("") nil
        (test-watching "w")
        (should-not (equal (funcall hooks) before))
        (mailsync-mode -1)
        (should (equal (funcall hooks) before))))))

(ert-deftest mailsync-test-stop-is-immediate ()
  "Stopping, and ending Emacs, wait for nothing, with everything running."
  (let ((root (make-temp-file "mailsync-test" t)))
    (unwind-protect
        (progn
          (test-maildir root)
          (with-temp-buffer
            (let ((status
                   (test-emacs
                    "-L" (file-name-directory (locate-library "mailsync-test-helper"))
                    "--eval" "(require 'mailsync-test-helper)"
                    "--eval"
                    (format "(let ((mailsync-accounts '((\"w\" :maildir %S)))
                                   (mailsync-coalesce-delay 0))
                               (mailsync-mode 1)
                               (test-watching \"w\")
                               (start-process \"busy\" nil \"sh\" \"-c\"
                                 \"cd %s; i=0; while [ $i -lt 20000 ]; do : >new/$i; i=$((i+1)); done\")
                               (test-wait (lambda () (test-log)))
                               (accept-process-output nil 0.3)
                               (kill-emacs 7))"
                            root (shell-quote-argument root)))))
              (should (equal (list status (buffer-string)) '(7 ""))))))
      (delete-directory root t))))

(ert-deftest mailsync-test-status ()
  "The status says per account what is watched, how, and what is wrong."
  (test-with-mailsync '("") `(("w" :maildir ,root) ("bad" :maildir ,(concat root "/no")))
    (test-watching "w")
    (test-wait (lambda () (memq (test-state "bad") '(waiting error))))
    (save-window-excursion
      (mailsync-status)
      (let ((text (buffer-string)))
        (should (string-match-p "^w: watching" text))
        (should (string-match-p "1 folder, [0-9]+ directories watched" text))
        (should (string-match-p "^bad: \\(waiting\\|error\\)" text))
        ;; What lasts is there once.
        (should (= 2 (length (split-string text "there is no directory")))))
      (mailsync-stop)
      (revert-buffer)
      (should (string-match-p "mailsync is off" (buffer-string))))
    (should (string-match-p "^mailsync 0" (mailsync-version)))))

(ert-deftest mailsync-test-status-of-gnus ()
  "The status says for which servers Gnus's side waits, and which are silent."
  (let ((status nil))
    ;; Not by `let': Emacs has `features' lexically bound then.
    (cl-letf (((symbol-value 'features) (cons 'mailsync-gnus features))
              ((symbol-function 'mailsync-gnus-status) (lambda () status)))
      (pcase-dolist
          (`(,plist . ,text)
           '(((:ready t :pending 0) . "Gnus: running, 0 folders wait for a check\n")
             ((:ready nil :pending 2)
              . "Gnus: not running, 2 folders wait for a check\n")
             ((:ready t :pending 1 :held-up "the minibuffer is left")
              . "Gnus: running, 1 folder waits for a check, until the minibuffer is left\n")
             ((:ready t :pending 1 :asked ("nnimap:a" "nnimap:b") :silent ("nnimap:c")
                      :last-error ("nnimap+c:x" . "no answer from nnimap:c")
                      :left-alone (("nnml:y" . "level 9")))
              . "Gnus: running, 1 folder waits for a check
  waits for the answer of nnimap:a, nnimap:b
  no answer from nnimap:c, asked again later
  last error: nnimap+c:x: no answer from nnimap:c
  left alone: nnml:y (level 9)
")))
        (setq status plist)
        (with-temp-buffer
          (mailsync-status--gnus)
          (should (equal (concat "\n" text)
                         (substring-no-properties (buffer-string)))))))))

;;;; Gnus starts meanwhile

(ert-deftest mailsync-test-gnus-half-started ()
  "Mail that comes between Gnus's reading a group and our watching is checked."
  (let* ((root (file-truename (make-temp-file "mailsync-test" t)))
         (here (file-name-directory (locate-library "mailsync-test-helper")))
         (form
          `(let ((mailsync-accounts '(("w" :maildir ,(concat root "/mail"))))
                 (mailsync-coalesce-delay 0.02)
                 (ready t))
             (fixture-configure ,(concat root "/home"))
             (add-hook 'mailsync-changed-functions #'test-note-changes)
             ;; Gnus has read its groups, and makes its buffer next.
             (add-hook 'gnus-setup-news-hook
                       (lambda ()
                         (test-deliver ,(concat root "/mail"))
                         (mailsync-mode 1)
                         (test-watching "w")
                         (test-wait (lambda () mailsync--skipped))
                         (setq ready (mailsync-gnus-ready-p))))
             (fixture-start)
             (test-wait (lambda () (test-changed "INBOX" 'unknown)))
             (princ (list ready mailsync--skipped))
             (mailsync-mode -1))))
    (unwind-protect
        (with-temp-buffer
          (test-maildir (concat root "/mail"))
          (let ((status (test-emacs
                         "-L" here "-l" "mailsync-test-helper"
                         "-l" (expand-file-name "../fixtures/gnus-init" here)
                         "--eval" (format "(progn (require 'gnus-start) %S)" form))))
            (should (equal status 0))
            (should (string-match-p "(nil nil)\\'" (buffer-string)))))
      (delete-directory root t))))

;;;; Another configuration

(ert-deftest mailsync-test-restart-does-the-difference ()
  "What stays as it was notices nothing; the rest is begun, or ended."
  (test-with-mailsync '("a" "b" "c" "d")
      `(("stays" :maildir ,(concat root "/a"))
        ("goes" :maildir ,(concat root "/b"))
        ("grows" :maildir ,(concat root "/c")))
    (test-watching "stays" "goes" "grows")
    (let* ((started nil)
           (mailsync-started-functions
            (list (lambda (account) (push account started)))))
      (setq mailsync-accounts
            `(("grows" :maildir (,(concat root "/c") ,(concat root "/d")))
              ("comes" :maildir ,(concat root "/b"))
              ("stays" :maildir ,(concat root "/a"))))
      (mailsync-restart)
      (should-not (eq (test-state "stays") 'starting))
      (should-not (test-state "goes"))
      (test-wait (lambda () (and (member "comes" started) (member "grows" started))))
      (should-not (member "stays" started))
      ;; "stays" was not looked at again, so there is nothing to tell of it.
      (should-not (seq-some (lambda (change)
                              (equal (plist-get change :account) "stays"))
                            test-changes))
      (dolist (folder '("a" "b" "d"))
        (test-deliver (expand-file-name folder root)))
      (test-wait (lambda ()
                   (seq-every-p
                    (lambda (account)
                      (seq-some (lambda (change)
                                  (and (equal (plist-get change :account) account)
                                       (memq 'new (plist-get change :kinds))))
                                test-changes))
                    '("stays" "comes" "grows"))))
      (should-not (seq-some (lambda (change)
                              (equal (plist-get change :account) "goes"))
                            test-changes)))))

(ert-deftest mailsync-test-delivered-while-restarting ()
  "Fifty restarts, each right after a delivery and waited for, lose none of those."
  (test-with-mailsync '("a" "b") `(("w" :maildir ,(concat root "/a")))
    (test-watching "w")
    (let ((both `(("w" :maildir ,(concat root "/a"))
                  ("x" :maildir ,(concat root "/b"))))
          (one mailsync-accounts))
      (dotimes (round 50)
        (setq mailsync-accounts (if (cl-evenp round) both one)
              test-changes nil)
        (test-deliver (concat root "/a"))
        (mailsync-restart)
        (test-wait (lambda ()
                     (seq-some (lambda (change)
                                 (and (equal (plist-get change :account) "w")
                                      (memq 'new (plist-get change :kinds))))
                               test-changes)))))))

(ert-deftest mailsync-test-customize ()
  "What Customize sets is in force at once, mistakes included."
  (test-with-mailsync '("a" "b") `(("w" :maildir ,(concat root "/a")))
    (test-watching "w")
    (customize-set-variable 'mailsync-accounts
                            `(("x" :maildir ,(concat root "/b"))
                              ("y" :maildri ,(concat root "/a"))))
    (test-wait (lambda () (eq (test-state "x") 'watching)))
    (should-not (test-state "w"))
    (should (string-match-p "\"y\" is left out: it has no key :maildri" (test-log)))
    (should (string-match-p "error" mailsync-mode-line--string))
    (save-window-excursion
      (mailsync-status)
      (should (string-match-p "^.mailsync-accounts.: the account \"y\" is left out"
                              (buffer-string))))
    (customize-set-variable 'mailsync-accounts
                            `(("y" :maildir ,(concat root "/a"))))
    (test-wait (lambda () (eq (test-state "y") 'watching)))
    (should-not (string-match-p "error" mailsync-mode-line--string))))

(ert-deftest mailsync-test-root-comes-and-goes ()
  "A root that is not there is waited for, and seen without a poll."
  (test-with-mailsync nil `(("w" :maildir ,(concat root "/later/Mail")))
    (test-wait (lambda () (eq (test-state "w") 'waiting)))
    (should (string-match-p "waiting" mailsync-mode-line--string))
    (should (string-match-p "later/Mail.* :maildir" (test-log)))
    (save-window-excursion
      (mailsync-status)
      ;; The way to it is watched a moment after it was missed.
      (test-wait (lambda ()
                   (revert-buffer)
                   (string-match-p "the kernel tells when it comes"
                                   (buffer-string)))))
    (test-maildir (concat root "/later/Mail"))
    (test-watching "w")
    (test-deliver (concat root "/later/Mail"))
    (test-wait (lambda () (test-changed "INBOX" 'new)))
    (rename-file (concat root "/later") (concat root "/away"))
    (test-wait (lambda () (eq (test-state "w") 'waiting)))
    ;; That is said again, since it was mended in between.
    (should (= 2 (with-current-buffer mailsync-log--buffer
                   (how-many "there is no directory" (point-min) (point-max)))))
    (setq test-changes nil)
    (rename-file (concat root "/away") (concat root "/later"))
    (test-wait (lambda () (eq (test-state "w") 'watching)))
    (test-wait (lambda () (test-changed "INBOX" 'unknown)))
    (save-window-excursion
      (mailsync-status)
      (should (string-match-p "1 folder, [0-9]+ directories watched"
                              (buffer-string))))))

(provide 'mailsync-test)
;;; mailsync-test.el ends here
