;;; mailsync-notify-test.el --- Tests of what the user is told  -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: GPL-3.0-or-later

;;; Commentary:

;; What is news, in a real Gnus; how it is told, with a clock of the
;; tests' own; and the desktop, with a bus of our own, on which another
;; Emacs (notify-server.el) is the notification server.

;;; Code:

(defvar mailsync-gnus-test-real-log t "What is logged is said, too.")
(require 'mailsync-gnus-test-helper)
(require 'mailsync-notify-desktop)
(require 'nnvirtual)

;;;; What is news: a table of events

(defvar mailsync-notify-test--told nil
  "The digests that were shown, latest first.")

(defun mailsync-notify-test--show (digest &rest _)
  "Note that DIGEST was shown."
  (push digest mailsync-notify-test--told))

(defun mailsync-notify-test--text (changes)
  "What is told of CHANGES, a string, or nil.
CHANGES are as `mailsync-new-mail-functions' gets them."
  (let ((mailsync-notify-test--told nil)
        (mailsync-notify-delay 0))
    (mailsync-notify--collect #'mailsync-notify-test--show changes)
    (while mailsync-notify--waiting
      (accept-process-output nil 0.01))
    (should (<= (length mailsync-notify-test--told) 1))
    (and mailsync-notify-test--told
         (mailsync-notify--echo-text (car mailsync-notify-test--told) 300))))

(defun mailsync-notify-test--mail (folder name flags subject &rest headers)
  "Put a message NAME with SUBJECT and HEADERS into FOLDER.
It has FLAGS, and is in cur/ then; without, in new/."
  (let ((coding-system-for-write 'no-conversion)
        (file (expand-file-name
               (if flags (concat "cur/" name ":2," flags) (concat "new/" name))
               (mailsync-gnus-test--directory folder))))
    (write-region (concat (if (cl-some (lambda (header)
                                         (string-prefix-p "From:" header))
                                       headers)
                              ""
                            "From: Jane Doe <jane@example.org>\n")
                          (format "Subject: %s\nMessage-ID: <%s@test>\n"
                                  subject name)
                          "Date: Mon, 02 Nov 2026 10:00:00 +0000\n"
                          (mapconcat (lambda (header) (concat header "\n"))
                                     headers "")
                          "\nText.\n")
                  nil file nil 'silent)
    file))

(defvar mailsync-notify-test--counter 0)

(defun mailsync-notify-test--name ()
  "A new name of a message."
  (format "%d.M%06d.test" (floor (float-time)) (cl-incf mailsync-notify-test--counter)))

(defun mailsync-notify-test--news (&rest changes)
  "Have CHANGES checked; return those that brought something."
  (cadr (apply #'mailsync-gnus-test--check changes)))

(defun mailsync-notify-test--group (folder)
  "The nnmaildir group of FOLDER."
  (mailsync-gnus-test--group 'nnmaildir folder))

(defun mailsync-notify-test--in-summary (folder function)
  "Call FUNCTION in the summary of FOLDER, on its last unread message."
  (with-current-buffer gnus-group-buffer
    (gnus-group-read-group nil t (mailsync-notify-test--group folder)))
  (with-current-buffer gnus-summary-buffer
    (gnus-summary-goto-subject (car (last (sort (copy-sequence
                                                 gnus-newsgroup-unreads)
                                                #'<))))
    (let ((done nil))
      (unwind-protect
          (progn (funcall function)
                 (setq done t))
        (set-buffer gnus-summary-buffer)
        (if done (gnus-summary-exit)
          ;; Gnus would ask about it when it ends.
          (kill-buffer))))))

(defun mailsync-notify-test--user-does (action)
  "The user does ACTION with a new message of folder001: it goes to folder000.
Return the changes of which mailsync hears afterwards."
  (mailsync-notify-test--mail "folder001" (mailsync-notify-test--name) nil "own")
  (mailsync-notify-test--news (mailsync-gnus-test--change "folder001" 'new))
  (let ((before (length (mailsync-gnus-test--files "folder000"))))
    (mailsync-notify-test--in-summary
     "folder001"
     (lambda ()
       (gnus-summary-move-article
        1 (mailsync-notify-test--group "folder000") nil action)))
    (should (= (1+ before) (length (mailsync-gnus-test--files "folder000")))))
  (list (mailsync-gnus-test--change "folder000" 'new 'flags)
        (mailsync-gnus-test--change "folder001" 'gone 'flags)))

(defun mailsync-notify-test--import ()
  "The user imports a file into folder000."
  (let ((file (expand-file-name "import" mailsync-gnus-test--dir)))
    (write-region "From: me\nSubject: imported\nDate: now\n\nText\n" nil file
                  nil 'silent)
    (mailsync-notify-test--mail "folder000" (mailsync-notify-test--name) nil "x")
    (mailsync-notify-test--news (mailsync-gnus-test--change "folder000" 'new))
    (mailsync-notify-test--in-summary
     "folder000" (lambda () (gnus-summary-import-article file)))
    (list (mailsync-gnus-test--change "folder000" 'new))))

(defconst mailsync-notify-test--events
  `(("delivered"
     ,(lambda ()
        (mailsync-notify-test--mail "folder000" (mailsync-notify-test--name) nil "Lunch?")
        (list (mailsync-gnus-test--change "folder000" 'new)))
     "Mail: folder000: Jane Doe, Lunch?")
    ("delivered to two folders"
     ,(lambda ()
        (mailsync-notify-test--mail "folder000" (mailsync-notify-test--name) nil "a")
        (mailsync-notify-test--mail "folder001" (mailsync-notify-test--name) nil "b")
        (mailsync-notify-test--mail "folder001" (mailsync-notify-test--name) nil "c")
        (list (mailsync-gnus-test--change "folder000" 'new)
              (mailsync-gnus-test--change "folder001" 'new)))
     "Mail: folder000: Jane Doe, a, folder001 (2)")
    ("one message to two folders"
     ,(lambda ()
        (let ((name (mailsync-notify-test--name)))
          (mailsync-notify-test--mail "folder000" name nil "both")
          (mailsync-notify-test--mail "folder001" name nil "both"))
        (list (mailsync-gnus-test--change "folder000" 'new)
              (mailsync-gnus-test--change "folder001" 'new)))
     "Mail: folder000: Jane Doe, both, folder001: Jane Doe, both")
    ("one delivered, another one read elsewhere"
     ,(lambda ()
        (mailsync-gnus-test--mark-seen
         (car (mailsync-gnus-test--unseen "folder000")))
        (mailsync-notify-test--mail "folder000" (mailsync-notify-test--name) nil "c")
        (list (mailsync-gnus-test--change "folder000" 'new 'flags)))
     "Mail: folder000: Jane Doe, c")
    ("delivered and read at once"
     ,(lambda ()
        (mailsync-notify-test--mail "folder000" (mailsync-notify-test--name) "S" "r")
        (list (mailsync-gnus-test--change "folder000" 'new 'flags)))
     nil)
    ("delivered and read at once, of which only the first is known"
     ,(lambda ()
        (mailsync-notify-test--mail "folder000" (mailsync-notify-test--name) "S" "r")
        (list (mailsync-gnus-test--change "folder000" 'new)))
     nil)
    ("delivered and deleted at once"
     ,(lambda ()
        (mailsync-notify-test--mail "folder000" (mailsync-notify-test--name) "T" "t")
        (list (mailsync-gnus-test--change "folder000" 'new)))
     nil)
    ("flag removed elsewhere"
     ,(lambda ()
        (let ((file (car (cl-remove-if-not
                          (lambda (file) (string-suffix-p ":2,S" file))
                          (mailsync-gnus-test--files "folder000")))))
          (rename-file file (substring file 0 -1)))
        (list (mailsync-gnus-test--change "folder000" 'flags)))
     nil)
    ("moved by the user" ,(lambda () (mailsync-notify-test--user-does 'move)) nil)
    ("copied by the user" ,(lambda () (mailsync-notify-test--user-does 'copy)) nil)
    ("crossposted by the user"
     ,(lambda () (mailsync-notify-test--user-does 'crosspost)) nil)
    ("imported by the user" ,#'mailsync-notify-test--import nil)
    ("moved by the user, while another one is delivered"
     ,(lambda ()
        (prog1 (mailsync-notify-test--user-does 'move)
          (mailsync-notify-test--mail "folder000" (mailsync-notify-test--name) nil "new")))
     "Mail: folder000: Jane Doe, new")
    ("renamed by mbsync, which has pushed it"
     ,(lambda ()
        (let ((file (mailsync-notify-test--mail
                     "folder000" (mailsync-notify-test--name) nil "pushed")))
          (mailsync-notify-test--news (mailsync-gnus-test--change "folder000" 'new))
          (setq file (replace-regexp-in-string "/new/" "/cur/" file))
          (rename-file (concat file ":2,") (concat file ",U=17:2,")))
        (list (mailsync-gnus-test--change "folder000" 'flags)))
     nil)
    ("the same, when Gnus has forgotten the old name"
     ,(lambda ()
        (let ((file (mailsync-notify-test--mail
                     "folder000" (mailsync-notify-test--name) nil "pushed")))
          (mailsync-notify-test--news (mailsync-gnus-test--change "folder000" 'new))
          (setq file (replace-regexp-in-string "/new/" "/cur/" file))
          (rename-file (concat file ":2,") (concat file ",U=18:2,")))
        (list (mailsync-gnus-test--change "folder000" 'flags 'gone)))
     nil)
    ("looked at before mailsync knows of it"
     ,(lambda ()
        (mailsync-notify-test--mail "folder000" (mailsync-notify-test--name) nil "early")
        (mailsync-gnus-check (mailsync-notify-test--group "folder000"))
        (list (mailsync-gnus-test--change "folder000" 'new)))
     "Mail: folder000: Jane Doe, early")
    ("looked at before mailsync knows of it, and read"
     ,(lambda ()
        (mailsync-notify-test--mail "folder000" (mailsync-notify-test--name) nil "early")
        (mailsync-gnus-check (mailsync-notify-test--group "folder000"))
        (mailsync-notify-test--in-summary
         "folder000" (lambda () (gnus-summary-mark-as-read-forward 1)))
        (list (mailsync-gnus-test--change "folder000" 'new)))
     nil)
    ("many"
     ,(lambda ()
        (dotimes (i 200)
          (mailsync-notify-test--mail "folder000" (mailsync-notify-test--name) nil
                                      (number-to-string i)))
        (list (mailsync-gnus-test--change "folder000" 'new)))
     "Mail: folder000 (200)")
    ("a hostile message"
     ,(lambda ()
        (mailsync-notify-test--mail
         "folder000" (mailsync-notify-test--name) nil
         (concat "%s%n <b>&amp;\x07\e[31m =?utf-8?B?4oCuZXhl4oCs?= "
                 "=?utf-8?Q?a=0D=0Ab=00c=E2=80=A8d?= \377 "
                 (make-string 5000 ?x))
         "From: \"Jane, \\\"the\\\" =?utf-8?Q?D=C3=B6e=0AX?=\" <jane@example.org>")
        (list (mailsync-gnus-test--change "folder000" 'new)))
     ,(lambda (text)
        (should (string-prefix-p "Mail: folder000: Jane, \"the\" Döe X, " text))
        (should (string-match-p "%s%n <b>&amp;\\[31m exea bc d" text))
        (should-not (string-match-p "[[:cntrl:]\u202e\u202c\u2028]" text))
        (should (equal text (decode-coding-string
                             (encode-coding-string text 'utf-8) 'utf-8)))
        (should (< (length text) 250)))))
  "What happens, (NAME FUNCTION TEXT): after it, TEXT is told, or nothing.
FUNCTION returns the changes of which mailsync hears.  TEXT may be a
function that looks at it.")

(defun mailsync-notify-test--call-events (function)
  "Call FUNCTION in a Gnus where folder000 and folder001 can be written."
  (mailsync-gnus-test--with '(nnmaildir) '("folder000" "folder001")
    (setq gnus-gcc-mark-as-read nil
          gnus-preserve-marks t)
    (funcall function)))

(ert-deftest mailsync-notify-test-events ()
  "Only what arrived by mail, and nobody has seen, is told."
  (pcase-dolist (`(,name ,event ,expected) mailsync-notify-test--events)
    (mailsync-notify-test--call-events
     (lambda ()
       (let ((text (mailsync-notify-test--text
                    (apply #'mailsync-notify-test--news (funcall event)))))
         (if (functionp expected)
             (funcall expected text)
           (should (equal (list name text) (list name expected)))))
       ;; And once.
       (should (equal (list name nil)
                      (list name
                            (mailsync-notify-test--news
                             (mailsync-gnus-test--change "folder000" 'unknown)
                             (mailsync-gnus-test--change "folder001" 'unknown)))))
       (should (zerop (hash-table-count mailsync-gnus--news-base)))))))

(ert-deftest mailsync-notify-test-second-view ()
  "What the user copies is not news where another group shows the folder."
  (mailsync-gnus-test--with '(nnmaildir) '("folder000" "folder001")
    (let ((again (mailsync-notify-test--group "again")))
      (make-symbolic-link (mailsync-gnus-test--directory "folder000")
                          (expand-file-name "server/again" mailsync-gnus-test--dir))
      (gnus-subscribe-group again nil (gnus-group-method again))
      (gnus-activate-group again 'scan)
      (let ((changes (mailsync-notify-test--user-does 'copy)))
        (should-not (apply #'mailsync-notify-test--news changes)))
      (mailsync-notify-test--mail "folder000" (mailsync-notify-test--name) nil "new")
      (should (equal (sort (mapcar #'car
                                   (plist-get
                                    (car (mailsync-notify-test--news
                                          (mailsync-gnus-test--change "folder000" 'new)))
                                    :groups))
                           #'string<)
                     (list again (mailsync-notify-test--group "folder000")))))))

(ert-deftest mailsync-notify-test-imap ()
  "Of nnimap, too, only what arrived is told, with its sender, without waiting."
  (mailsync-gnus-test--with '(nnimap) '("folder000" "folder001")
    (let* ((group (mailsync-gnus-test--group 'nnimap "folder000"))
           (mailsync-new-mail-functions '(ignore))
           (deliver (lambda (folder subject)
                      (mailsync-gnus-test--deliver folder subject)))
           (calls 0)
           (waited nil)
           (watched (lambda (function &rest args)
                      (setq calls (1+ calls))
                      (cl-letf* ((wait (symbol-function 'accept-process-output))
                                 ((symbol-function 'accept-process-output)
                                  (lambda (&rest args)
                                    (setq waited t)
                                    (apply wait args))))
                        (apply function args)))))
      (mailsync-gnus-test--check (mailsync-gnus-test--change "folder000" 'new)
                                 (mailsync-gnus-test--change "folder001" 'new))
      (advice-add 'mailsync-gnus--headers-finish :around watched)
      (unwind-protect
          (progn
            (funcall deliver "folder000" "=?utf-8?Q?=C3=BC?= one")
            (let ((news (mailsync-notify-test--news
                         (mailsync-gnus-test--change "folder000" 'new))))
              (should (equal (plist-get (car news) :arrived) `((,group . 1))))
              (should (equal (mailsync-notify-test--text news)
                             "Mail: folder000: mda@example.invalid, ü one")))
            ;; Two groups in one go, several messages.
            (dolist (subject '("a" "b" "c"))
              (funcall deliver "folder000" subject))
            (funcall deliver "folder001" "d")
            (let ((news (mailsync-notify-test--news
                         (mailsync-gnus-test--change "folder000" 'new)
                         (mailsync-gnus-test--change "folder001" 'new))))
              (should (equal (mailsync-notify-test--text news)
                             "Mail: folder000 (3), folder001: mda@example.invalid, d"))
              (should (equal (mapcar (lambda (message) (plist-get message :subject))
                                     (plist-get (car news) :messages))
                             '("c" "b" "a"))))
            ;; Read at once.
            (mailsync-gnus-test--mark-seen (funcall deliver "folder000" "read"))
            (should-not (mailsync-notify-test--news
                         (mailsync-gnus-test--change "folder000" 'new)))
            ;; A flag that was removed elsewhere.
            (let ((file (car (cl-remove-if-not
                              (lambda (file) (string-suffix-p ":2,S" file))
                              (mailsync-gnus-test--files "folder000")))))
              (rename-file file (substring file 0 -1)))
            (should-not (mailsync-notify-test--news
                         (mailsync-gnus-test--change "folder000" 'flags)))
            ;; The user moves, copies and crossposts.
            (dolist (action '(move copy crosspost))
              (funcall deliver "folder001" "own")
              (mailsync-notify-test--news
               (mailsync-gnus-test--change "folder001" 'new))
              (with-current-buffer gnus-group-buffer
                (gnus-group-read-group
                 nil t (mailsync-gnus-test--group 'nnimap "folder001")))
              (with-current-buffer gnus-summary-buffer
                (gnus-summary-goto-subject
                 (apply #'max gnus-newsgroup-unreads))
                (gnus-summary-move-article 1 group nil action)
                (set-buffer gnus-summary-buffer)
                (gnus-summary-exit))
              (should (equal (list action nil)
                             (list action
                                   (mailsync-notify-test--news
                                    (mailsync-gnus-test--change "folder000" 'new)
                                    (mailsync-gnus-test--change "folder001" 'gone))))))
            ;; And once.
            (should-not (mailsync-notify-test--news
                         (mailsync-gnus-test--change "folder000" 'unknown)
                         (mailsync-gnus-test--change "folder001" 'unknown)))
            (should (> calls 3))
            (should-not waited))
        (advice-remove 'mailsync-gnus--headers-finish watched)))))

(ert-deftest mailsync-notify-test-imap-silent ()
  "If the server does not say from whom a message is, it is told without."
  (mailsync-gnus-test--with '(nnimap) '("folder000")
    (let* ((mailsync-new-mail-functions '(ignore))
           (mailsync-gnus-imap-timeout 0.5)
           (dead (lambda (server &rest _)
                   ;; What it says goes nowhere.
                   (set-process-filter (mailsync-gnus--imap-process server)
                                       #'ignore))))
      (mailsync-gnus-test--check (mailsync-gnus-test--change "folder000" 'new))
      (mailsync-gnus-test--deliver "folder000" "x")
      (advice-add 'mailsync-gnus--headers-ask :after dead)
      (unwind-protect
          (pcase-let ((`(,results ,news)
                       (mailsync-gnus-test--check
                        (mailsync-gnus-test--change "folder000" 'new))))
            (should (equal results '(("folder000" . checked))))
            (should (equal (mailsync-notify-test--text news) "Mail: folder000")))
        (advice-remove 'mailsync-gnus--headers-ask dead))
      ;; It goes on, with another connection, when the server is asked again.
      (mailsync-gnus-test--wait
       (eql 0 (mailsync-gnus--imap-wait
               (mailsync-gnus--imap-server
                (gnus-find-method-for-group
                 (mailsync-gnus-test--group 'nnimap "folder000"))))))
      (mailsync-gnus-test--deliver "folder000" "y")
      (should (equal (mailsync-notify-test--text
                      (mailsync-notify-test--news
                       (mailsync-gnus-test--change "folder000" 'new)))
                     "Mail: folder000: mda@example.invalid, y"))
      (should-not mailsync-gnus--sent))))

(ert-deftest mailsync-notify-test-imap-answer ()
  "The headers are found in an answer, whatever is in them."
  (with-temp-buffer
    (set-buffer-multibyte nil)
    (insert "* FLAGS (x)\r\n4 OK done\r\n"
            "* 3 FETCH (UID 7 BODY[HEADER.FIELDS (FROM)] {20}\r\n"
            "Subject: x)\r\n a\r\n\r\n)\r\n"
            "* 4 EXISTS\r\n"
            "* 4 FETCH (BODY[HEADER.FIELDS (FROM)] {21}\r\n"
            "From: * 9 FETCH (\r\n\r\n UID 8)\r\n"
            "* 5 FETCH (UID 9 BODY[HEADER.FIELDS (FROM)] {2}\r\n\r\n)\r\n"
            "5 OK done\r\n6 OK done\r\n"
            "* 1 FETCH (UID 1 BODY[HEADER.FIELDS (FROM)] {9999}\r\nFrom: x\r\n"
            "7 OK done\r\n")
    (goto-char (point-min))
    (should (equal (reverse (mailsync-gnus--headers-parse 5))
                   '((7 (subject . "x) a")) (8 (from . "* 9 FETCH (")) (9))))
    (should (equal (mailsync-gnus--headers-parse 7) '((1 (from . "x")))))))

;; nnmaildir cannot respool.
(ert-deftest mailsync-notify-test-split ()
  "What Gnus splits is news where it went, what the user respools is not."
  (mailsync-gnus-test--with '(nnmaildir) '("folder000")
    (let* ((store (expand-file-name "store/" mailsync-gnus-test--dir))
           (method `(nnml "store" (nnml-directory ,store)
                          (nnml-active-file ,(concat store "active"))
                          (nnml-newsgroups-file ,(concat store "newsgroups"))))
           (nnmail-split-methods '(("list" "^Subject:.*list") ("misc" "")))
           (change (mailsync-gnus-test--change "folder001" 'new)))
      (make-directory store)
      (setq mail-sources
            `((maildir :path ,(mailsync-gnus-test--directory "folder001")
                       :subdirs ("new"))))
      (setq gnus-secondary-select-methods
            (append gnus-secondary-select-methods (list method)))
      (unwind-protect
          (progn
            (gnus-open-server method)
            (dolist (name '("list" "misc"))
              (gnus-request-create-group name method)
              (gnus-subscribe-group (concat "nnml+store:" name) nil method)
              (gnus-activate-group (concat "nnml+store:" name) nil nil method))
            (mailsync-notify-test--mail
             "folder001" (mailsync-notify-test--name) nil "for the list")
            (mailsync-notify-test--mail
             "folder001" (mailsync-notify-test--name) nil "else")
            (let ((news (mailsync-notify-test--news change)))
              (should (equal (sort (copy-sequence
                                    (plist-get (car news) :groups))
                                   (lambda (a b) (string< (car a) (car b))))
                             '(("nnml+store:list" 0 1) ("nnml+store:misc" 0 1))))
              (should (member (mailsync-notify-test--text news)
                              '("Mail: list: Jane Doe, for the list, misc: Jane Doe, else"
                                "Mail: misc: Jane Doe, else, list: Jane Doe, for the list"))))
            (with-current-buffer gnus-group-buffer
              (gnus-group-read-group nil t "nnml+store:misc"))
            (with-current-buffer gnus-summary-buffer
              (let ((nnmail-split-methods '(("list" ""))))
                (gnus-summary-respool-article 1 method))
              (set-buffer gnus-summary-buffer)
              (gnus-summary-exit))
            (should (= 2 (fixture-unread "nnml+store:list")))
            (mailsync-notify-test--mail
             "folder001" (mailsync-notify-test--name) nil "else again")
            (should (equal (mailsync-notify-test--text
                            (mailsync-notify-test--news change))
                           "Mail: misc: Jane Doe, else again"))
            ;; The group to which it went is looked at with its next mail.
            (mailsync-notify-test--mail
             "folder001" (mailsync-notify-test--name) nil "list again")
            (should (equal (mailsync-notify-test--text
                            (mailsync-notify-test--news change))
                           "Mail: list: Jane Doe, list again")))
        (setq mail-sources nil)))))

(ert-deftest mailsync-notify-test-change ()
  "The change says which messages came, newest first, a bounded number of them."
  (mailsync-gnus-test--with '(nnmaildir) '("folder000")
    (let* ((group (mailsync-notify-test--group "folder000"))
           (before (fixture-unread group))
           (high (cdr (gnus-active group))))
      (dotimes (i 30)
        (mailsync-notify-test--mail "folder000" (mailsync-notify-test--name) nil
                                    (format "=?utf-8?Q?=C3=BC?= %d" i)))
      (let* ((change (car (mailsync-notify-test--news
                           (mailsync-gnus-test--change "folder000" 'new))))
             (messages (plist-get change :messages)))
        (should (equal (plist-get change :groups)
                       `((,group ,before ,(+ 30 before)))))
        (should (equal (plist-get change :arrived) `((,group . 30))))
        (should (= (length messages) mailsync-gnus--news-messages-max))
        (should (equal (mapcar (lambda (message) (plist-get message :number)) messages)
                       (number-sequence (+ high 30) (+ high 11) -1)))
        (let ((message (car messages)))
          (should (equal (plist-get message :group) group))
          (should (equal (plist-get message :from) "Jane Doe <jane@example.org>"))
          (should (equal (plist-get message :sender) "Jane Doe"))
          (should (equal (plist-get message :subject) "ü 29"))
          (should (string-match-p "2 Nov 2026" (plist-get message :date)))
          (should (string-match-p "\\`<.*@test>\\'"
                                  (plist-get message :message-id))))))))

;; Security: S26.
(ert-deftest mailsync-notify-test-memory-is-bounded ()
  "What is remembered of messages does not grow for ever."
  (let ((memory (cons nil nil)))
    (dotimes (i 10000)
      (mailsync-gnus--memory-put memory i t))
    (should (mailsync-gnus--memory-get memory 9999))
    (should-not (mailsync-gnus--memory-get memory 1))
    (should (<= (+ (hash-table-count (car memory)) (hash-table-count (cdr memory)))
                (* 2 mailsync-gnus--news-remembered)))))

(ert-deftest mailsync-notify-test-headers ()
  "Heads as some back ends give them are understood, folded ones too."
  (with-temp-buffer
    (insert "221 5 Article retrieved.\nSubject: a\n\tb\nFROM: x@y\n"
            "Message-Id: <1@x>\n.\n211 7 Article retrieved.\nFrom: z\n.\n")
    (should (equal (sort (mailsync-gnus--news-parse-heads)
                         (lambda (a b) (< (car a) (car b))))
                   '((5 (message-id . "<1@x>") (subject . "a\tb") (from . "x@y"))
                     (7 (from . "z")))))))

;;;; What is told, and when

(defconst mailsync-notify-test--now
  (encode-time '(0 0 12 2 11 2026 nil nil nil))
  "Noon.")

(defmacro mailsync-notify-test--with (clock &rest body)
  "Evaluate BODY while the time is CLOCK, \"HH:MM\", and nothing waits."
  (declare (indent 1))
  `(let* ((mailsync-notify--waiting nil)
          (mailsync-notify-test--told nil)
          (mailsync-notify--echoed nil)
          (mailsync-notify--in-the-way nil)
          (mailsync-notify--clock (mailsync-notify-test--clock ,clock)))
     (unwind-protect (progn ,@body)
       (dolist (wait mailsync-notify--waiting)
         (cancel-timer (mailsync-notify--wait-timer (cdr wait)))))))

(defun mailsync-notify-test--clock (clock)
  "A function that says that it is CLOCK, \"HH:MM\"."
  (let ((minute (mailsync-notify--minute clock)))
    (lambda ()
      (encode-time (list 0 (mod minute 60) (/ minute 60) 2 11 2026 nil nil nil)))))

(defun mailsync-notify-test--change (group count &rest subjects)
  "A change that brought COUNT messages to GROUP, the newest with SUBJECTS."
  (list :account "home" :groups `((,group 0 ,count)) :arrived `((,group . ,count))
        :messages (mapcar (lambda (subject)
                            (list :group group :number 1 :sender "Jane"
                                  :subject subject))
                          subjects)))

(defun mailsync-notify-test--collect (&rest changes)
  "Collect CHANGES."
  (mailsync-notify--collect #'mailsync-notify-test--show changes))

(defun mailsync-notify-test--lines ()
  "What was told, latest first."
  (mapcar (lambda (digest) (mailsync-notify--echo-text digest 200))
          mailsync-notify-test--told))

(ert-deftest mailsync-notify-test-muted ()
  "Muted groups are not told of: by name, with or without server, by glob."
  (pcase-dolist (`(,muted ,group ,expected)
                 '((("lists.a") "nnml:lists.a" t)
                   (("nnml:lists.a") "nnml:lists.a" t)
                   (("nnml:*") "nnml:lists.a" t)
                   (("lists.*") "nnml:lists.a" t)
                   (("x" "*.a") "nnml:lists.a" t)
                   (("lists") "nnml:lists.a" nil)
                   (("LISTS.A") "nnml:lists.a" nil)
                   (("lists?a") "nnml:lists.a" nil)
                   (("*") "a\nb" t)
                   (nil "nnml:lists.a" nil)))
    (let ((mailsync-notify-muted-groups muted))
      (should (equal (list muted group (and (mailsync-notify--muted-p group) t))
                     (list muted group expected))))))

(ert-deftest mailsync-notify-test-level ()
  "Groups above the level are not told of."
  (mailsync-gnus-test--with '(nnmaildir) '("folder000")
    (let ((group (mailsync-notify-test--group "folder000")))
      (should (mailsync-notify--wanted-p group))
      (gnus-group-change-level group 4 3)
      (should-not (mailsync-notify--wanted-p group))
      (let ((mailsync-notify-level 4))
        (should (mailsync-notify--wanted-p group)))
      (should (mailsync-notify--wanted-p "unknown")))))

(ert-deftest mailsync-notify-test-quiet-for ()
  "It is known when it is quiet, over midnight too, and for how long."
  (pcase-dolist (`(,times ,clock ,expected)
                 '((nil "12:00" nil)
                   ((("22:00" . "07:00")) "21:59" nil)
                   ((("22:00" . "07:00")) "22:00" 32400)
                   ((("22:00" . "07:00")) "23:59" 25260)
                   ((("22:00" . "07:00")) "00:00" 25200)
                   ((("22:00" . "07:00")) "06:59" 60)
                   ((("22:00" . "07:00")) "07:00" nil)
                   ((("9:00" . "10:30")) "09:30" 3600)
                   ((("00:00" . "24:00")) "12:00" 43200)
                   ((("12:00" . "12:00")) "12:00" 86400)
                   ((("22:00" . "07:00") ("06:00" . "08:00")) "06:30" 5400)
                   ((("bad" . "07:00") ("06:00" . "08:00")) "06:30" 5400)
                   ((nonsense) "06:30" nil)))
    (let ((mailsync-notify-quiet-times times)
          (inhibit-message t))
      (mailsync-notify-test--with clock
        (should (equal (list times clock (mailsync-notify--quiet-for))
                       (list times clock expected)))))))

(ert-deftest mailsync-notify-test-quiet ()
  "What comes in a quiet time is told once, when it is over; one timer waits."
  (let ((mailsync-notify-quiet-times '(("22:00" . "07:00"))))
    (mailsync-notify-test--with "06:00"
      (mailsync-notify-test--collect (mailsync-notify-test--change "a" 1 "x"))
      (mailsync-notify-test--collect (mailsync-notify-test--change "a" 2)
                                     (mailsync-notify-test--change "b" 1 "y"))
      (should (= 1 (length mailsync-notify--waiting)))
      (let* ((wait (cdar mailsync-notify--waiting))
             (left (float-time (time-subtract
                                (timer--time (mailsync-notify--wait-timer wait))
                                nil))))
        (should (< 3590 left 3610))
        ;; The machine's clock may be wrong, or the timer early.
        (cancel-timer (mailsync-notify--wait-timer wait))
        (mailsync-notify--due #'mailsync-notify-test--show)
        (should-not mailsync-notify-test--told)
        (should (= 1 (length mailsync-notify--waiting))))
      (setq mailsync-notify--clock (mailsync-notify-test--clock "07:00"))
      (cancel-timer (mailsync-notify--wait-timer (cdar mailsync-notify--waiting)))
      (mailsync-notify--due #'mailsync-notify-test--show)
      (should-not mailsync-notify--waiting)
      (should (equal (mailsync-notify-test--lines) '("Mail: a (3), b: Jane, y"))))))

(ert-deftest mailsync-notify-test-burst ()
  "A burst is told once, in a digest of bounded size."
  (let ((mailsync-notify-delay 0.2))
    (mailsync-notify-test--with "12:00"
      (dotimes (i 2000)
        (mailsync-notify-test--collect
         (mailsync-notify-test--change (format "group%d" (mod i 200)) 1
                                       (make-string 1000 ?x))))
      (should (= 1 (length mailsync-notify--waiting)))
      (mailsync-gnus-test--wait mailsync-notify-test--told)
      (should (= 1 (length mailsync-notify-test--told)))
      (let ((digest (car mailsync-notify-test--told)))
        (should (= 2000 (mailsync-notify--total digest)))
        (should (= mailsync-notify--groups-max
                   (length (mailsync-notify--digest-groups digest))))
        (pcase-dolist (`(,_ ,_ . ,messages) (mailsync-notify--digest-groups digest))
          (should (<= (length messages) mailsync-notify--messages-max)))
        (pcase-let ((`(,title . ,lines) (mailsync-notify--texts digest)))
          (should (equal title "Mail: 2000 messages"))
          (should (= (length lines) mailsync-notify--lines-max))
          (should (equal (car (last lines)) "and 46 more")))))))

;; Security: S21.
(ert-deftest mailsync-notify-test-texts ()
  "What is told, in words."
  (pcase-dolist
      (`(,changes ,title . ,lines)
       `((,(list (mailsync-notify-test--change "nnml:a" 1 "Lunch?"))
          "Mail: a" "Jane: Lunch?")
         (,(list (mailsync-notify-test--change "a" 3 "x" "y"))
          "Mail: a (3)" "Jane: x" "Jane: y" "and 1 more")
         (,(list (mailsync-notify-test--change "a" 3)) "Mail: a (3)")
         (,(list (mailsync-notify-test--change "a" 3 "x")
                 (mailsync-notify-test--change "b" 1 "%s\n<b>"))
          "Mail: 4 messages" "a (3)" "b: Jane, %s <b>")))
    (let ((digest (mailsync-notify--make-digest)))
      (dolist (change changes)
        (pcase-let ((`((,group . ,count)) (plist-get change :arrived)))
          (mailsync-notify--add digest group count (plist-get change :messages))))
      (should (equal (mailsync-notify--texts digest) (cons title lines)))))
  (should (equal (mailsync-notify--escape "<b>&amp;\"%s")
                 "&lt;b&gt;&amp;amp;\"%s")))

(ert-deftest mailsync-notify-test-read-meanwhile ()
  "What was read before it could be told is not told."
  (let ((unread 2))
    (cl-letf (((symbol-function 'mailsync-notify--unread) (lambda (_) unread)))
      (mailsync-notify-test--with "12:00"
        (mailsync-notify-test--collect (mailsync-notify-test--change "a" 3))
        (cancel-timer (mailsync-notify--wait-timer (cdar mailsync-notify--waiting)))
        (mailsync-notify--due #'mailsync-notify-test--show)
        (should (equal (mailsync-notify-test--lines) '("Mail: a (2)")))
        (setq unread 0)
        (mailsync-notify-test--collect (mailsync-notify-test--change "a" 3))
        (cancel-timer (mailsync-notify--wait-timer (cdar mailsync-notify--waiting)))
        (mailsync-notify--due #'mailsync-notify-test--show)
        (should (= 1 (length mailsync-notify-test--told)))))))

(ert-deftest mailsync-notify-test-signals ()
  "A function that signals is reported once, and what comes later is told."
  (let ((mailsync-notify-delay 0) (calls 0) (inhibit-message t))
    (mailsync--once-clear)
    (mailsync-notify-test--with "12:00"
      (cl-flet ((show (&rest _) (cl-incf calls) (error "Broken")))
        (let ((show #'show))
          (dotimes (i 2)
            (mailsync-notify--collect show (list (mailsync-notify-test--change "a" 1)))
            (mailsync-gnus-test--wait (= calls (1+ i)))
            (should-not mailsync-notify--waiting)))))
    (should (= 1 (with-current-buffer (mailsync-log--get)
                   (how-many "cannot tell of new mail: Broken" (point-min)))))))

;;;; The echo area

(ert-deftest mailsync-notify-test-echo ()
  "The echo area is used when nobody else uses it."
  (let ((shown nil) (said nil) (logged nil) (mailsync-notify-delay 0))
    (cl-letf (((symbol-function 'current-message) (lambda () shown))
              ((symbol-function 'message)
               (lambda (format &rest args)
                 (let ((text (apply #'format-message format args)))
                   (when message-log-max
                     (push text logged))
                   (unless inhibit-message
                     (setq shown text)
                     (push text said)))))
              ((symbol-function 'mailsync-notify--put-off)
               (lambda (_ digest seconds &optional tries)
                 (setq mailsync-notify--waiting (list digest seconds tries)))))
      (mailsync-notify-test--with "12:00"
        (cl-flet ((echo (&rest changes)
                    (setq mailsync-notify--waiting nil)
                    (let ((digest (mailsync-notify--make-digest)))
                      (dolist (change changes)
                        (pcase-let ((`((,group . ,count)) (plist-get change :arrived)))
                          (mailsync-notify--add digest group count
                                                (plist-get change :messages))))
                      (mailsync-notify--echo digest)))
                  (change (&rest args) (apply #'mailsync-notify-test--change args)))
          (unwind-protect
              (progn
                ;; `%' is none of ours.
                (echo (change "a" 1 "100%s"))
                (should (equal said '("Mail: a: Jane, 100%s")))
                ;; Our own message is added to.
                (echo (change "b" 2))
                (should (equal (car said) "Mail: a: Jane, 100%s, b (2)"))
                (should (equal logged '("Mail: b (2)" "Mail: a: Jane, 100%s")))
                ;; What comes into an open Summary is seen there.
                (let ((mailsync-gnus-update-summary 'insert)
                      (buffer (get-buffer-create (gnus-summary-buffer-name "s"))))
                  (save-window-excursion
                    (pop-to-buffer buffer)
                    (echo (change "s" 1))
                    (should (= 2 (length said)))
                    (let ((mailsync-gnus-update-summary nil))
                      (echo (change "s" 1))
                      (should (equal (car said)
                                     "Mail: a: Jane, 100%s, b (2), s"))))
                  (kill-buffer buffer)
                  (pop said))
                ;; Another one is left alone, for a moment.
                (setq shown "Wrote file")
                (echo (change "c" 1))
                (should (= 2 (length said)))
                (should (equal (cdr mailsync-notify--waiting) '(3.0 1)))
                (echo (change "c" 1))
                (should (equal (car said) "Mail: c"))
                (setq shown nil)
                (dolist (place '(isearch-mode cursor-in-echo-area
                                 overriding-terminal-local-map))
                  (cl-progv (list place) (list (make-sparse-keymap))
                    (echo (change "d" 1)))
                  (should (equal (car said) "Mail: c"))
                  (should mailsync-notify--waiting))
                (cl-letf (((symbol-function 'minibuffer-depth) (lambda () 1)))
                  (echo (change "d" 1)))
                (should (equal (car said) "Mail: c"))
                (echo (change "d" 1))
                (should (equal (car said) "Mail: d"))
                ;; In one line.
                (echo (change "d" 1 (make-string 500 ?x)))
                (should (< (string-width (car said)) (frame-width))))
            (setq mailsync-notify--waiting nil)))))))

;;;; The desktop

(defvar mailsync-notify-test--desktop nil
  "The bus and the server of the test that runs: a plist.
`:file', `:bus', `:server' (processes) and `:said', what was said.")

(defvar mailsync-notify-test--said nil "What was said in the echo area.")

(defun mailsync-notify-test--serve (&optional capabilities)
  "Start a notification server with CAPABILITIES; return its process."
  (let* ((file (plist-get mailsync-notify-test--desktop :file))
         (facts (length (mailsync-notify-test--facts 'ready)))
         (process-environment
          (append (list (concat "NOTIFY_FILE=" file)
                        (concat "NOTIFY_CAPABILITIES="
                                (or capabilities "body body-markup actions")))
                  process-environment))
         (process (make-process
                   :name "notify-server" :buffer " *notify-server*" :noquery t
                   :command (list (expand-file-name invocation-name
                                                    invocation-directory)
                                  "-Q" "--batch" "-l"
                                  (expand-file-name "notify-server.el"
                                                    mailsync-gnus-test--here)))))
    (setq mailsync-notify-test--desktop
          (plist-put mailsync-notify-test--desktop :server process))
    (mailsync-notify-test--wait
     (> (length (mailsync-notify-test--facts 'ready)) facts) 20)
    process))

(defun mailsync-notify-test--facts (kind)
  "What the server has written down of KIND, in order."
  (let ((file (plist-get mailsync-notify-test--desktop :file))
        (coding-system-for-read 'utf-8)
        (facts nil))
    (when (file-exists-p file)
      (with-temp-buffer
        (insert-file-contents file)
        (condition-case nil
            (while t
              (let ((fact (read (current-buffer))))
                (when (eq (car fact) kind) (push (cdr fact) facts))))
          (end-of-file nil))))
    (nreverse facts)))

(defmacro mailsync-notify-test--wait (condition &optional seconds)
  "Let Emacs and the bus work until CONDITION holds, at most SECONDS (5)."
  `(let ((end (+ (float-time) (or ,seconds 5)))
         value)
     (while (not (or (setq value ,condition) (> (float-time) end)))
       (mailsync-notify-test--work 0.05))
     (or value
         (ert-fail (list 'timeout ',condition mailsync-notify-test--said
                         mailsync-notify--call)))))

(defun mailsync-notify-test--work (seconds)
  "Let Emacs and the bus work for SECONDS."
  (let ((end (+ (float-time) seconds)))
    ;; This sees to the bus in batch mode.
    (while (< (float-time) end)
      (read-event nil nil 0.02))))

(defun mailsync-notify-test--signal (signal id argument)
  "Have the server send SIGNAL about the notification ID with ARGUMENT."
  (let ((file (concat (plist-get mailsync-notify-test--desktop :file) ".signal")))
    (write-region (format "%S" (list signal id argument)) nil (concat file ".tmp")
                  nil 'silent)
    (rename-file (concat file ".tmp") file)
    (mailsync-notify-test--wait (not (file-exists-p file)))
    (mailsync-notify-test--work 0.3)))

(defun mailsync-notify-test--tell (group count &rest subjects)
  "Tell of COUNT messages in GROUP; fail if Emacs had to wait."
  (let ((mailsync-notify-delay 0)
        (begun (float-time)))
    (mailsync-notify-desktop
     "home" (list (apply #'mailsync-notify-test--change group count subjects)))
    (cancel-timer (mailsync-notify--wait-timer
                   (cdr (assq #'mailsync-notify--desktop mailsync-notify--waiting))))
    (mailsync-notify--due #'mailsync-notify--desktop)
    (should (< (- (float-time) begun) 0.5))))

(defun mailsync-notify-test--forget ()
  "Forget what was shown, and who does not answer."
  (mailsync--once-clear)
  (mailsync-notify--end-probe)
  (when (timerp mailsync-notify--call-timer)
    (cancel-timer mailsync-notify--call-timer))
  (setq mailsync-notify--call nil
        mailsync-notify--call-timer nil
        mailsync-notify--silent nil
        mailsync-notify--asked nil
        mailsync-notify--next nil
        mailsync-notify--shown nil
        mailsync-notify--current nil))

(defun mailsync-notify-test--pid (what)
  "The process id of WHAT, `:bus' or `:server'."
  (process-id (plist-get mailsync-notify-test--desktop what)))

(defun mailsync-notify-test--call-desktop (function)
  "Call FUNCTION with a bus of our own; say what goes to the echo area.
There is one bus for all tests: Emacs connects to its bus once."
  (let ((mailsync-notify-test--said nil)
        (mailsync-new-mail-functions nil)
        ;; There may be a desktop.
        (mailsync-notify--session nil)
        (mailsync-notify--waiting nil)
        (mailsync-notify--echoed nil)
        (mailsync-notify--in-the-way nil))
    (mailsync-notify-test--bus)
    (mailsync-notify-test--forget)
    (delete-file (plist-get mailsync-notify-test--desktop :file))
    (cl-letf (((symbol-function 'message)
               (lambda (format &rest args)
                 (push (apply #'format-message format args)
                       mailsync-notify-test--said)
                 nil)))
      (unwind-protect (funcall function)
        (dolist (wait mailsync-notify--waiting)
          (cancel-timer (mailsync-notify--wait-timer (cdr wait))))
        (mailsync-notify-test--forget)
        (let ((server (plist-get mailsync-notify-test--desktop :server)))
          (when (process-live-p server)
            (signal-process server 'SIGCONT)
            (delete-process server)))))))

(defmacro mailsync-notify-test--with-desktop (&rest body)
  "Evaluate BODY with a bus of our own."
  (declare (indent 0))
  `(mailsync-notify-test--call-desktop (lambda () ,@body)))

(defun mailsync-notify-test--bus ()
  "Start a bus of our own, unless it runs."
  (unless (executable-find "dbus-daemon")
    (if (getenv "MAILSYNC_ALLOW_SKIP")
        (ert-skip "no dbus-daemon")
      (ert-fail "dbus-daemon is needed (or MAILSYNC_ALLOW_SKIP=1)")))
  (should (featurep 'dbusbind))
  (unless (process-live-p (plist-get mailsync-notify-test--desktop :bus))
    (let* ((directory (make-temp-file "mailsync-bus" t))
           (socket (expand-file-name "bus" directory))
           (address (concat "unix:path=" socket)))
      (push directory mailsync-gnus-test--old-dirs)
      (setenv "DBUS_SESSION_BUS_ADDRESS" address)
      (setq mailsync-notify-test--desktop
            (list :file (expand-file-name "facts" directory)
                  :socket socket
                  :bus (make-process
                        :name "bus" :buffer " *bus*" :noquery t
                        :command (list "dbus-daemon" "--session" "--nofork"
                                       "--nopidfile" (concat "--address=" address)))))
      (mailsync-notify-test--wait (file-exists-p socket)))))

(ert-deftest mailsync-notify-test-desktop-0-hanging-bus ()
  "A bus that hangs is not waited for when a connection to it is needed."
  ;; The first one: Emacs is not connected yet.
  (mailsync-notify-test--with-desktop
    (let ((mailsync-notify--answer-timeout 0.5))
      (signal-process (mailsync-notify-test--pid :bus) 'SIGSTOP)
      (unwind-protect
          (progn
            (mailsync-notify-test--tell "a" 1 "Lunch?")
            (mailsync-notify-test--wait
             (member "Mail: a: Jane, Lunch?" mailsync-notify-test--said))
            (should-not mailsync-notify--bus)
            (should-not mailsync-notify--call))
        (signal-process (mailsync-notify-test--pid :bus) 'SIGCONT)))
    (should (= 1 (cl-count-if (lambda (text) (string-search "no notification" text))
                              mailsync-notify-test--said)))))

;; Security: S21, S65.
(ert-deftest mailsync-notify-test-desktop-1-shown ()
  "A notification is shown, added to while it is there, and opens its group."
  (mailsync-notify-test--with-desktop
    (mailsync-notify-test--serve)
    (let ((opened nil))
      (cl-letf (((symbol-function 'mailsync-notify-open)
                 (lambda (group) (push group opened))))
        (mailsync-notify-test--tell "nnml:a" 1 "<b>R&D</b> ü")
        (mailsync-notify-test--wait (mailsync-notify-test--facts 'notify))
        (mailsync-notify-test--wait mailsync-notify--current)
        (should (equal (mailsync-notify-test--facts 'notify)
                       '((1 0 "Mail: a" "Jane: &lt;b&gt;R&amp;D&lt;/b&gt; ü"
                            ("default" "Open")))))
        ;; Three at once: one that is on its way, and one for the rest.
        (dotimes (_ 3)
          (mailsync-notify-test--tell "nnml:b" 2 "x"))
        (mailsync-notify-test--wait
         (= 3 (length (mailsync-notify-test--facts 'notify))))
        (should (equal (mapcar (lambda (fact) (seq-take fact 4))
                               (cdr (mailsync-notify-test--facts 'notify)))
                       '((1 1 "Mail: 3 messages" "a: Jane, &lt;b&gt;R&amp;D&lt;/b&gt; ü\nb (2)")
                         (1 1 "Mail: 7 messages" "a: Jane, &lt;b&gt;R&amp;D&lt;/b&gt; ü\nb (6)"))))
        (mailsync-notify-test--work 0.3)
        ;; Another's notification, another action.
        (mailsync-notify-test--signal "ActionInvoked" 7 "default")
        (mailsync-notify-test--signal "ActionInvoked" 1 "other")
        (should-not opened)
        (mailsync-notify-test--signal "ActionInvoked" 1 "default")
        (mailsync-notify-test--wait opened)
        (mailsync-notify-test--signal "ActionInvoked" 1 "default")
        (should (equal opened '("nnml:b")))
        ;; A new one, since the old one is gone.
        (mailsync-notify-test--tell "nnml:a" 1 "y")
        (mailsync-notify-test--wait
         (= 4 (length (mailsync-notify-test--facts 'notify))))
        (mailsync-notify-test--wait mailsync-notify--current)
        (mailsync-notify-test--signal "NotificationClosed" 2 1)
        (should-not mailsync-notify--current)
        (mailsync-notify-test--tell "nnml:a" 1 "z")
        (mailsync-notify-test--wait
         (= 5 (length (mailsync-notify-test--facts 'notify))))
        (should (equal (mapcar (lambda (fact) (seq-take fact 2))
                               (nthcdr 3 (mailsync-notify-test--facts 'notify)))
                       '((2 0) (3 0))))
        (should-not mailsync-notify-test--said)))))

(ert-deftest mailsync-notify-test-desktop-2-simple-server ()
  "A server without markup, actions or body gets none."
  (mailsync-notify-test--with-desktop
    (mailsync-notify-test--serve "body")
    (mailsync-notify-test--tell "a" 1 "<b>")
    (mailsync-notify-test--wait (mailsync-notify-test--facts 'notify))
    (should (equal (nthcdr 2 (car (mailsync-notify-test--facts 'notify)))
                   '("Mail: a" "Jane: <b>" nil))))
  (mailsync-notify-test--with-desktop
    (mailsync-notify-test--serve "")
    (mailsync-notify-test--tell "a" 1 "<b>")
    (mailsync-notify-test--wait (mailsync-notify-test--facts 'notify))
    (should (equal (nthcdr 2 (car (mailsync-notify-test--facts 'notify)))
                   '("Mail: a: Jane: <b>" "" nil)))))

(ert-deftest mailsync-notify-test-desktop-3-no-server ()
  "Without a server the echo area is used; that is said once."
  (mailsync-notify-test--with-desktop
    (mailsync-notify-test--tell "a" 1 "x")
    (mailsync-notify-test--wait (member "Mail: a: Jane, x" mailsync-notify-test--said))
    (mailsync-notify-test--tell "a" 1 "y")
    (mailsync-notify-test--wait (member "Mail: a: Jane, y" mailsync-notify-test--said))
    (should (= 1 (cl-count-if (lambda (text) (string-search "no notification" text))
                              mailsync-notify-test--said)))
    ;; Not twice, if the echo area is used anyway.
    (let ((mailsync-new-mail-functions '(mailsync-notify-echo)))
      (mailsync-notify-test--tell "a" 1 "z")
      (mailsync-notify-test--work 0.5)
      (should-not (member "Mail: a: Jane, z" mailsync-notify-test--said)))
    ;; When there is one again, it is used.
    (mailsync-notify-test--serve)
    (mailsync-notify-test--tell "a" 1 "w")
    (mailsync-notify-test--wait (mailsync-notify-test--facts 'notify))))

(ert-deftest mailsync-notify-test-desktop-4-hanging-server ()
  "A server that hangs is not waited for, nor called again and again."
  (mailsync-notify-test--with-desktop
    (let ((mailsync-notify--answer-timeout 0.5)
          (server (mailsync-notify-test--serve)))
      (mailsync-notify-test--tell "a" 1 "first")
      (mailsync-notify-test--wait (mailsync-notify-test--facts 'notify))
      (mailsync-notify-test--wait (null mailsync-notify--call))
      (signal-process server 'SIGSTOP)
      (let ((calls (hash-table-count dbus-registered-objects-table)))
        (dotimes (i 20)
          (mailsync-notify-test--tell "a" 1 (number-to-string i)))
        (mailsync-notify-test--wait (member "Mail: a (20)" mailsync-notify-test--said))
        (dotimes (_ 20)
          (mailsync-notify-test--tell "a" 1 "more"))
        (mailsync-notify-test--wait
         (cl-some (lambda (text) (string-search "a (2" text))
                  mailsync-notify-test--said))
        (should (= (hash-table-count dbus-registered-objects-table) (1+ calls)))
        (should mailsync-notify--silent))
      (signal-process server 'SIGCONT)
      ;; It answers late: what was said already is not shown.
      (mailsync-notify-test--wait (null mailsync-notify--call))
      (should (= 1 (length (mailsync-notify-test--facts 'notify))))
      (mailsync-notify-test--tell "b" 1 "again")
      (mailsync-notify-test--wait
       (= 2 (length (mailsync-notify-test--facts 'notify))))
      (should (= 1 (cl-count-if (lambda (text) (string-search "no notification" text))
                                mailsync-notify-test--said))))))

(ert-deftest mailsync-notify-test-desktop-5-hanging-bus-later ()
  "A bus that hangs when Emacs is connected is not waited for either."
  (mailsync-notify-test--with-desktop
    (let ((mailsync-notify--answer-timeout 0.5))
      (mailsync-notify-test--serve)
      (mailsync-notify-test--tell "a" 1 "x")
      (mailsync-notify-test--wait (mailsync-notify-test--facts 'notify))
      (mailsync-notify-test--wait (null mailsync-notify--call))
      (signal-process (mailsync-notify-test--pid :bus) 'SIGSTOP)
      (unwind-protect
          (progn
            (mailsync-notify-test--tell "a" 1 "y")
            (mailsync-notify-test--wait
             (member "Mail: a: Jane, y" mailsync-notify-test--said)))
        (signal-process (mailsync-notify-test--pid :bus) 'SIGCONT))
      (mailsync-notify-test--wait (null mailsync-notify--call)))))

(ert-deftest mailsync-notify-test-desktop-6-bus-ends ()
  "A bus that ends is missed once; a new one is used."
  (mailsync-notify-test--with-desktop
    (mailsync-notify-test--serve)
    (mailsync-notify-test--tell "a" 1 "x")
    (mailsync-notify-test--wait (mailsync-notify-test--facts 'notify))
    (mailsync-notify-test--wait (null mailsync-notify--call))
    (let ((bus (plist-get mailsync-notify-test--desktop :bus)))
      (delete-process bus)
      (mailsync-notify-test--wait (not (process-live-p bus)))
      (mailsync-notify-test--work 0.3))
    (mailsync-notify-test--tell "a" 1 "y")
    (mailsync-notify-test--wait (member "Mail: a: Jane, y" mailsync-notify-test--said))
    (should-not mailsync-notify--call)))

(ert-deftest mailsync-notify-test-desktop-7-no-bus ()
  "Without a bus none is started."
  (mailsync-notify-test--with-desktop
    (let ((process-environment
           (append '("DBUS_SESSION_BUS_ADDRESS" "XDG_RUNTIME_DIR") process-environment)))
      (mailsync-notify-test--tell "a" 1 "x")
      (mailsync-notify-test--wait (member "Mail: a: Jane, x" mailsync-notify-test--said))
      (should (cl-some (lambda (text) (string-search "there is no session bus" text))
                       mailsync-notify-test--said)))))

(ert-deftest mailsync-notify-test-open ()
  "A click opens the group, at its first unread message; a read one is shown."
  (mailsync-gnus-test--with '(nnmaildir) '("folder000")
    (let ((group (mailsync-notify-test--group "folder000")))
      (mailsync-notify--open-when-possible group 0)
      (should (equal (buffer-name (window-buffer))
                     (concat "*Summary " group "*")))
      (with-current-buffer (window-buffer)
        (gnus-summary-catchup-and-exit nil t))
      (mailsync-notify--open-when-possible group 0)
      (should (equal (buffer-name (window-buffer)) gnus-group-buffer)))))

;;;; In a terminal

(defun mailsync-notify-test--terminal (function)
  "Call FUNCTION with an Emacs in a terminal, as two functions.
The first one has it evaluate a form and returns the value, the
second one types a string."
  (let* ((dir (make-temp-file "mailsync-terminal" t))
         (command (expand-file-name "command" dir))
         (answer (expand-file-name "answer" dir))
         (init (expand-file-name "init.el" dir))
         (library (file-name-directory (locate-library "mailsync-notify")))
         (process nil))
    (with-temp-file init
      (dolist (form `((require 'mailsync-notify-desktop)
                      (defvar terminal-opened nil)
                      (defun terminal-poll ()
                        (when (file-exists-p ,command)
                          (let ((form (with-temp-buffer
                                        (insert-file-contents ,command)
                                        (read (current-buffer)))))
                            (delete-file ,command)
                            (let ((inhibit-message t)
                                  (value (condition-case err (eval form t)
                                           (error err))))
                              (write-region (prin1-to-string value) nil
                                            ,(concat answer ".tmp") nil 'silent)
                              (rename-file ,(concat answer ".tmp") ,answer t)))))
                      (run-with-timer 0.1 0.1 #'terminal-poll)))
        (print form (current-buffer))))
    (setq process
          (let ((process-environment
                 (append (list "TERM=vt100" (concat "HOME=" dir))
                         process-environment)))
            (make-process
             :name "terminal" :connection-type 'pty :noquery t :buffer nil
             :filter #'ignore
             :command
             (list "sh" "-c" "stty rows 24 cols 80 raw -echo; exec \"$@\"" "sh"
                   (or (getenv "EMACS")
                       (expand-file-name invocation-name invocation-directory))
                   "-nw" "-Q" "-L" library "-l" init))))
    (unwind-protect
        (cl-flet ((tell (form)
                    (when (file-exists-p answer) (delete-file answer))
                    (write-region (prin1-to-string form) nil (concat command ".tmp")
                                  nil 'silent)
                    (rename-file (concat command ".tmp") command)
                    (mailsync-notify-test--wait (file-exists-p answer) 20)
                    (with-temp-buffer
                      (insert-file-contents answer)
                      (read (current-buffer))))
                  (keys (string) (process-send-string process string)))
          (tell '(ignore))
          (funcall function #'tell #'keys))
      (delete-process process)
      (delete-directory dir t))))

(defun mailsync-notify-test--tell-in (function group)
  "The form that has FUNCTION tell of a message in GROUP."
  `(let ((mailsync-notify-delay 0))
     (,function "home" '((:groups ((,group 0 1)))))))

(ert-deftest mailsync-notify-test-terminal-echo ()
  "The echo area is not taken from a question, a search or a command that waits."
  (mailsync-notify-test--terminal
   (lambda (tell keys)
     (cl-flet ((echo (group)
                 (funcall tell (mailsync-notify-test--tell-in
                                'mailsync-notify-echo group)))
               (shown (&optional seconds)
                 (mailsync-notify-test--work (or seconds 0.7))
                 (funcall tell '(list (current-message) (minibuffer-depth)
                                      isearch-mode))))
       ;; What Emacs says when it starts.
       (funcall tell '(let ((inhibit-message nil)) (message nil)))
       (echo "one")
       (should (equal (shown) '("Mail: one" 0 nil)))
       ;; Added to while it is there.
       (echo "two")
       (should (equal (shown) '("Mail: one, two" 0 nil)))
       (funcall keys "\ex")
       (mailsync-notify-test--wait (equal 1 (nth 1 (shown 0))))
       (echo "three")
       (should-not (car (shown)))
       (funcall keys "\C-g")
       (mailsync-notify-test--wait (equal "Mail: three" (car (shown 0))) 15)
       (funcall keys "\C-s")
       (mailsync-notify-test--wait (nth 2 (shown 0)))
       (echo "four")
       (should-not (string-search "four" (or (car (shown)) "")))
       (funcall keys "\C-g\C-g")
       (mailsync-notify-test--wait (equal "Mail: four" (car (shown 0))) 15)
       ;; It waits for a key.
       (funcall keys "\e:(read-char \"Key? \")\r")
       (mailsync-notify-test--wait (equal "Key? " (car (shown 0))))
       (echo "five")
       (should (equal "Key? " (car (shown 4))))
       (funcall keys "x")
       (mailsync-notify-test--wait (equal "Mail: five" (car (shown 0))) 30)
       ;; Not twice in *Messages*.
       (should (equal 1 (funcall tell '(with-current-buffer "*Messages*"
                                         (how-many "^Mail: five$" (point-min))))))))))

(ert-deftest mailsync-notify-test-terminal-click ()
  "In an Emacs that its user uses, a click opens the group, and nothing else does."
  (mailsync-notify-test--with-desktop
    (mailsync-notify-test--serve)
    (mailsync-notify-test--terminal
     (lambda (tell keys)
       (funcall tell '(fset 'mailsync-notify-open
                            (lambda (group) (setq terminal-opened group))))
       (funcall tell (mailsync-notify-test--tell-in 'mailsync-notify-desktop "one"))
       (mailsync-notify-test--wait (mailsync-notify-test--facts 'notify) 10)
       (should (equal (mailsync-notify-test--facts 'notify)
                      '((1 0 "Mail: one" "" ("default" "Open")))))
       (mailsync-notify-test--work 0.5)
       (should-not (funcall tell 'terminal-opened))
       ;; Not in the middle of a question.
       (funcall keys "\ex")
       (mailsync-notify-test--wait (equal 1 (funcall tell '(minibuffer-depth))))
       (mailsync-notify-test--signal "ActionInvoked" 1 "default")
       (mailsync-notify-test--work 0.7)
       (should-not (funcall tell 'terminal-opened))
       (funcall keys "\C-g")
       (mailsync-notify-test--wait (equal "one" (funcall tell 'terminal-opened)))))))

(provide 'mailsync-notify-test)
;;; mailsync-notify-test.el ends here
